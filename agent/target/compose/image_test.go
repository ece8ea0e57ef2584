package compose_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/target/compose"
	"rollback-agent/agent/testbed"
)

func (h *host) has(name string) bool {
	h.Helper()
	_, err := h.docker.ImageInspect(h.Context(), name)
	return err == nil
}

func TestRetainDeletesOnlyWhatTheAgentPulledAndNobodyNeeds(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	generation := func(n int, options ...testbed.Option) agent.Release {
		h.Push("app", "stable", testbed.Good, append(options, testbed.Env("APP_GENERATION", fmt.Sprint(n)))...)
		return h.deploy()
	}
	one, two, three, four := generation(1), generation(2), generation(3), generation(4)
	image := func(rel agent.Release) string { return rel.Artifacts[0].Local }
	h.tag(image(two), h.Registry.Host+"/mine:kept") // a human's own name for it
	stranger := h.run(image(three))                 // a container that is none of ours

	if err := h.target.Retain(t.Context(), h.svc, []agent.Release{four}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{image(one): false, image(two): true, image(three): true, image(four): true} {
		if got := h.has(name); got != want {
			t.Errorf("image %.19s: got here %v, want %v", name, got, want)
		}
	}
	if tags := h.keepTags(); len(tags) != 1 || !strings.HasSuffix(tags[0], ":r4") {
		t.Errorf("got keep tags %v, want that of r4", tags)
	}
	if _, err := h.docker.ContainerRemove(t.Context(), stranger, client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := h.target.Retain(t.Context(), h.svc, []agent.Release{four}); err != nil {
		t.Fatal(err)
	}
	if h.has(image(three)) {
		t.Error("an image that the agent pulled stays for ever once a container used it")
	}
}

func TestRetainSparesImagesThatOthersBuilt(t *testing.T) {
	h := newHost(t)
	h.Push("app", "built", testbed.Good)
	h.Push("app", "other", testbed.Good, testbed.Env("APP_GENERATION", "other"))
	name := "rollback-agent-test/" + h.project + ":latest"
	built := h.pullAndForget("built", name)
	h.compose("services: {web: {image: " + name + "}}")
	h.Registry.Forget()
	first := h.deploy()
	if first.Artifacts[0].Digest != built || len(h.Registry.Requests()) > 0 {
		t.Fatalf("got %+v, requests %v, want the image ID %s and no pull", first.Artifacts, h.Registry.Requests(), built)
	}
	h.pullAndForget("other", name)
	second := h.deploy()
	if err := h.target.Retain(t.Context(), h.svc, []agent.Release{second}); err != nil {
		t.Fatal(err)
	}
	if !h.has(built) {
		t.Error("an image that somebody built here was deleted")
	}
	if tags := h.keepTags(); len(tags) != 1 {
		t.Errorf("got keep tags %v, want one", tags)
	}
	h.removeImage(built)
	_, err := h.target.Fetch(t.Context(), h.svc, h.restoring(first), nil)
	if !errors.Is(err, agent.ErrSourceMissing) || agent.Hint(err) == "" {
		t.Errorf("got %v, want ErrSourceMissing with a hint", err)
	}
}

// pullAndForget brings an image here under a local name, as a build would: no
// registry knows its digest. It returns the image's ID.
func (h *host) pullAndForget(tag, name string) string {
	h.Helper()
	ref := h.Ref("app", tag)
	pull, err := h.docker.ImagePull(h.Context(), ref, client.ImagePullOptions{})
	if err != nil {
		h.Fatal(err)
	}
	if err := pull.Wait(h.Context()); err != nil {
		h.Fatal(err)
	}
	image, err := h.docker.ImageInspect(h.Context(), ref)
	if err != nil {
		h.Fatal(err)
	}
	h.tag(image.ID, name)
	if _, err := h.docker.ImageRemove(h.Context(), ref, client.ImageRemoveOptions{}); err != nil {
		h.Fatal(err)
	}
	return image.ID
}

// run starts a container that belongs to nobody.
func (h *host) run(image string) string {
	h.Helper()
	created, err := h.docker.ContainerCreate(h.Context(), client.ContainerCreateOptions{Image: image})
	if err != nil {
		h.Fatal(err)
	}
	return created.ID
}

// keepTags returns the service's keep tags that exist.
func (h *host) keepTags() []string {
	h.Helper()
	list, err := h.docker.ImageList(h.Context(), client.ImageListOptions{Filters: make(client.Filters).Add("label", testbed.RunLabel+"="+h.Testbed.Run)})
	if err != nil {
		h.Fatal(err)
	}
	var tags []string
	for _, i := range list.Items {
		for _, tag := range i.RepoTags {
			if strings.HasPrefix(tag, "localhost/rollback-agent/") && !strings.Contains(tag, "/pulled:") && !strings.Contains(tag, "/named:") {
				tags = append(tags, tag)
			}
		}
	}
	slices.Sort(tags)
	return tags
}

func TestFetchRefusesAnotherArchitecture(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good, testbed.OtherArchitecture())
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	_, err := h.target.Fetch(t.Context(), h.svc, h.release(h.desired()), nil)
	if !agent.IsPermanent(err) || !strings.Contains(agent.Hint(err), "build it for") {
		t.Errorf("got %v, hint %q, want a permanent error that says what to build", err, agent.Hint(err))
	}
}

func TestFetchOfAnUnknownDigestIsPermanent(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	wanted := h.desired()
	wanted.Artifacts[0].Digest = "sha256:" + strings.Repeat("0", 64)
	_, err := h.target.Fetch(t.Context(), h.svc, h.release(wanted), nil)
	if !agent.IsPermanent(err) || !errors.Is(err, agent.ErrSourceMissing) || agent.Hint(err) == "" {
		t.Errorf("got %v, want a permanent ErrSourceMissing with a hint", err)
	}
}

func TestFetchWithALogin(t *testing.T) {
	h := newSerialHost(t, testbed.RegistryOptions{User: "me", Password: "secret"})
	_, digest := h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app@" + digest + "}}")
	rel := h.release(h.desired())
	_, err := h.target.Fetch(t.Context(), h.svc, rel, nil)
	if !agent.IsPermanent(err) || !strings.Contains(agent.Hint(err), "log in to "+h.Registry.Host) {
		t.Errorf("without a login: got %v, hint %q, want a permanent error that says to log in", err, agent.Hint(err))
	}
	for name, config := range map[string]string{
		"auths":             fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, h.Registry.Host, base64.StdEncoding.EncodeToString([]byte("me:secret"))),
		"credential helper": fmt.Sprintf(`{"credHelpers": {%q: "testbed"}}`, h.Registry.Host),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			helper := "#!/bin/sh\necho '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"secret\"}'\n"
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600),
				os.WriteFile(filepath.Join(dir, "docker-credential-testbed"), []byte(helper), 0o700)); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			target := compose.New(compose.Options{DockerConfig: filepath.Join(dir, "config.json")})
			defer target.Close()
			fetched, err := target.Fetch(t.Context(), h.svc, rel, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := target.Retain(t.Context(), h.svc, nil); err != nil {
				t.Fatal(err)
			}
			if h.has(fetched.Artifacts[0].Local) {
				t.Error("an image that no release needs stays")
			}
		})
	}
}

func TestFetchReportsProgress(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good, testbed.Padding(3<<20))
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	var last agent.Progress
	if _, err := h.target.Fetch(t.Context(), h.svc, h.release(h.desired()), func(p agent.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if last.Artifact != "web" || last.Done == 0 || last.Done != last.Total {
		t.Errorf("got %+v, want a finished progress of web", last)
	}
}

func TestImagesOfHooksAreFetched(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.Push("hook", "one", testbed.Job, testbed.Env("APP_GENERATION", "hook"))
	h.compose("services: {web: {image: REGISTRY/app:stable, pre_start: [{image: REGISTRY/hook:one}]}}")
	rel := h.deploy()
	h.serves(agent.ServingNew, &rel, nil)
	if got := h.instance("web").Phase; got != agent.PhaseRunning {
		t.Errorf("got phase %s, want running", got)
	}
}
