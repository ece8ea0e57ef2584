package compose_test

import (
	"slices"
	"strings"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

const overriddenFile = `
services:
  web: {image: IMAGE, environment: {PRICE: "$$5", TAG: "${TAG:-none}"}}
  worker: {image: "REGISTRY/app:stable", network_mode: "service:web", environment: {APP_ADDR: ":9090"}}
`

// overriding is the service as the worker hands it to Desired.
func (h *host) overriding(artifact, ref string) agent.Wanted {
	h.Helper()
	plain := h.svc
	h.svc.Overrides = map[string]string{artifact: ref}
	defer func() { h.svc = plain }()
	return h.desired()
}

func TestOverrideIsWhatAFileWouldBeThatNamesIt(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	other, digest := h.Push("app", "other", testbed.Good, testbed.Env("APP_GENERATION", "other"))
	for name, ref := range map[string]string{"tag": other, "digest": h.Registry.Host + "/app@" + digest, "both": other + "@" + digest} {
		t.Run(name, func(t *testing.T) {
			h.compose(strings.ReplaceAll(overriddenFile, "IMAGE", "REGISTRY/app:stable"))
			files := h.desired()
			got := h.overriding("web", ref)
			h.compose(strings.ReplaceAll(overriddenFile, "IMAGE", ref))
			want := h.desired()

			web := got.Artifacts[0]
			if web.Ref != ref || web.FileRef != h.Ref("app", "stable") || web.Digest != digest {
				t.Errorf("got %+v, want %s instead of what the file names", web, ref)
			}
			got.Artifacts[0].FileRef = ""
			if !slices.Equal(got.Artifacts, want.Artifacts) || got.ConfigHash != want.ConfigHash || got.Model != want.Model ||
				string(got.Snapshot.Data) != string(want.Snapshot.Data) {
				t.Errorf("got %+v\n%s\nwant %+v\n%s", got.Artifacts, got.Snapshot.Data, want.Artifacts, want.Snapshot.Data)
			}
			h.compose(strings.ReplaceAll(overriddenFile, "IMAGE", "REGISTRY/app:stable"))
			if again := h.desired(); !slices.Equal(again.Artifacts, files.Artifacts) || again.ConfigHash != files.ConfigHash {
				t.Errorf("without the override: got %+v, want %+v", again.Artifacts, files.Artifacts)
			}
		})
	}
}

func TestOverrideEqualToTheFilesReferenceIsNone(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: nginx}}")
	for _, ref := range []string{"nginx", "nginx:latest", "docker.io/library/nginx:latest"} {
		svc := h.svc
		svc.Overrides = map[string]string{"web": ref}
		wanted, err := h.target.Desired(t.Context(), svc)
		if err != nil {
			t.Fatal(err)
		}
		if a := wanted.Artifacts[0]; a.Ref != "nginx" || a.FileRef != "" {
			t.Errorf("%s: got %+v, want what the file names", ref, a)
		}
	}
}

func TestOverridesThatCannotBe(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: app}, worker: {image: app}, debug: {image: app, profiles: [debug]}}")
	for name, c := range map[string]struct{ artifact, ref, text, hint string }{
		"unknown, near":   {"wbe", "app:2", "web, worker", `did you mean "web"?`},
		"unknown, far":    {"database", "app:2", "web, worker", "name one of web, worker"},
		"not in the unit": {"debug", "app:2", "web, worker", ""},
		"malformed":       {"web", "App:2", `"web"`, "a reference is"},
		"empty":           {"web", "", `"web"`, "a reference is"},
	} {
		svc := h.svc
		svc.Overrides = map[string]string{c.artifact: c.ref}
		wanted, err := h.target.Desired(t.Context(), svc)
		if !agent.IsPermanent(err) || !strings.Contains(err.Error(), c.text) || !strings.Contains(agent.Hint(err), c.hint) {
			t.Errorf("%s: got %v, hint %q, want a permanent error with %q, hint %q", name, err, agent.Hint(err), c.text, c.hint)
		}
		if !slices.Contains(wanted.Files, h.svc.Compose.Files[0]) {
			t.Errorf("%s: got files %v, want the compose file among them", name, wanted.Files)
		}
	}
	if _, err := h.target.Desired(t.Context(), h.svc); err != nil {
		t.Errorf("without an override: got %v, want no error", err)
	}
}

func TestOverrideMovesItsOwnTagAlone(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	h.Push("app", "stable", testbed.Good)
	other, digest := h.Push("app", "other", testbed.Good, testbed.Env("APP_GENERATION", "other"))
	first := h.deploy()
	second := h.fetch(h.release(h.overriding("web", other)))
	h.apply(second)
	h.serves(agent.ServingNew, &second, &first)
	if got := h.imageID(other); got != second.Artifacts[0].Local {
		t.Errorf("got %s at the override's tag, want %s", got, second.Artifacts[0].Local)
	}
	if got := h.imageID(h.Ref("app", "stable")); got != first.Artifacts[0].Local {
		t.Errorf("got %s at the file's tag, want %s untouched", got, first.Artifacts[0].Local)
	}
	if got := h.instance("web"); got.Ref != other || !slices.Contains(got.Digests, digest) {
		t.Errorf("got an instance of %s, want %s", got.Ref, other)
	}
	if out := h.human("up", "-d"); h.instance("web").Local != first.Artifacts[0].Local {
		t.Errorf("got %s, want the file's image again: a file knows no override", out)
	}
	h.serves(agent.ServingNew, &first, &second)
}

// imageID returns what a local name leads to.
func (h *host) imageID(name string) string {
	h.Helper()
	image, err := h.docker.ImageInspect(h.Context(), name)
	if err != nil {
		h.Fatal(err)
	}
	return image.ID
}
