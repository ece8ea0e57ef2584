package compose_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// TestField02PullsThatDoNotBringTheImage: whatever goes wrong on the way, it is an
// error, and what serves goes on serving.
func TestField02PullsThatDoNotBringTheImage(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *host)
		text  string
		hint  string
	}{
		"the stream ends at once": {func(h *host) {
			h.svc.Compose.DockerHost = "unix://" + h.engineThatPulls(func(http.ResponseWriter) {})
		}, "is not here", ""},
		"the stream is cut off": {func(h *host) {
			h.svc.Compose.DockerHost = "unix://" + h.engineThatPulls(func(w http.ResponseWriter) {
				io.WriteString(w, `{"status":"Downloading","id":"b0010f724abb"`)
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
		}, "pulling", "is Docker running"},
		"the config is cut off": {func(h *host) {
			h.distort("/blobs/", func(body []byte) []byte { return body[:len(body)/2] }, isJSON)
		}, "pulling", ""},
		"the manifest is cut off": {func(h *host) {
			h.distort("/manifests/", func(body []byte) []byte { return body[:len(body)/2] }, isJSON)
		}, "pulling", ""},
		"the config is another one": {func(h *host) {
			h.distort("/blobs/", another, isJSON)
		}, "verification failed", "other content"},
		"the manifest is another one": {func(h *host) {
			h.distort("/manifests/", another, isJSON)
		}, "", ""},
		"a layer is another one": {func(h *host) {
			h.distort("/blobs/", another, func(body []byte) bool { return !isJSON(body) })
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
			h.Push("app", "v", testbed.Good)
			first := h.deploy()
			before, images := h.ids(), h.pulled()
			h.push("v", 64<<10)
			second := h.release(h.desired())
			c.spoil(h)
			_, err := h.target.Fetch(t.Context(), h.svc, second, nil)
			if err == nil || agent.IsPermanent(err) || !strings.Contains(err.Error(), c.text) || !strings.Contains(agent.Hint(err), c.hint) {
				t.Errorf("got %v, hint %q, want an error that may pass, with %q, hint %q", err, agent.Hint(err), c.text, c.hint)
			}
			h.serves(agent.ServingNew, &first, nil)
			if after := h.ids(); !slices.Equal(before, after) {
				t.Errorf("got containers %v, want %v", after, before)
			}
			if got := h.pulled(); !slices.Equal(images, got) {
				t.Errorf("got images %v, want %v", got, images)
			}
		})
	}
}

func isJSON(body []byte) bool { return bytes.HasPrefix(body, []byte("{")) }

// another is different content of the same length.
func another(body []byte) []byte {
	other := bytes.Clone(body)
	for i := len(other) / 2; i < len(other); i++ {
		if other[i] >= 'a' && other[i] < 'z' {
			other[i]++
			return other
		}
	}
	return other
}

// distort changes some of what the registry answers to the engine, under headers
// that promise the original.
func (h *host) distort(path string, change func([]byte) []byte, which func([]byte) bool) {
	h.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, path) {
			h.Registry.Serve(w, r)
			return
		}
		kept := httptest.NewRecorder()
		h.Registry.Serve(kept, r)
		body := kept.Body.Bytes()
		maps.Copy(w.Header(), kept.Header())
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(kept.Code)
		if which(body) {
			body = change(body)
		}
		w.Write(body)
	})
}

func TestField16IndexWithoutThisPlatform(t *testing.T) {
	h := newHost(t)
	h.Push("app", "v", testbed.Good)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	first := h.deploy()
	h.Push("app", "v", testbed.Good, testbed.Platforms("linux/riscv64", "linux/s390x"))
	_, err := h.target.Fetch(t.Context(), h.svc, h.release(h.desired()), nil)
	if !agent.IsPermanent(err) || errors.Is(err, agent.ErrSourceMissing) || !strings.Contains(agent.Hint(err), "push an index with linux/") {
		t.Errorf("got %v, hint %q, want a permanent error that says what to push", err, agent.Hint(err))
	}
	h.serves(agent.ServingNew, &first, nil)
}

// TestField16OneImageUnderSeveralDigests: an index that gets another platform, or
// a tag that comes to name the platform's own manifest, is another digest for the
// same image. Nothing is recreated for it, and it is not told as news for ever.
func TestField16OneImageUnderSeveralDigests(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	ref, one := h.Push("app", "v", testbed.Good, testbed.Platforms("linux/amd64", "linux/arm64"))
	first := h.deploy()
	before := h.ids()
	_, two := h.Push("app", "v", testbed.Good, testbed.Platforms("linux/amd64", "linux/arm64", "linux/s390x"))
	second := h.deploy()
	three := h.platformManifest(ref)
	if err := crane.Tag(h.Registry.Host+"/app@"+three, "v"); err != nil {
		t.Fatal(err)
	}
	third := h.deploy()
	if one == two || two == three || first.Artifacts[0].Local != third.Artifacts[0].Local {
		t.Fatalf("got %s, %s, %s, %+v: the test does not test", one, two, three, third.Artifacts)
	}
	if after := h.ids(); !slices.Equal(before, after) {
		t.Errorf("got containers %v, want %v: they run this image already", after, before)
	}
	for _, rel := range []agent.Release{first, second, third} {
		h.serves(agent.ServingNew, &rel, nil)
		digest, ok, err := h.target.Local(t.Context(), h.svc, rel.Artifacts[0])
		if err != nil || !ok || digest != rel.Artifacts[0].Digest {
			t.Errorf("Local: got %s, %v, %v, want %s", digest, ok, err, rel.Artifacts[0].Digest)
		}
	}
	h.Registry.Intercept(refuse)
	for _, rel := range []agent.Release{first, second, third} {
		h.fetch(rel) // each is here
	}
	h.retain() // of the service that is let go of, but runs
	if !h.has(third.Artifacts[0].Local) {
		t.Error("what serves was deleted")
	}
}

// platformManifest returns the digest of this platform's manifest in an index.
func (h *host) platformManifest(ref string) string {
	h.Helper()
	digest, err := crane.Digest(ref, crane.WithPlatform(testbed.OwnPlatform()))
	if err != nil {
		h.Fatal(err)
	}
	return digest
}

// TestField16PulledByHandByThePlatformsDigest: a human has the image already, by
// another digest than the one that is wanted.
func TestField16PulledByHandByThePlatformsDigest(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	ref, index := h.Push("app", "v", testbed.Good, testbed.Platforms("linux/amd64", "linux/arm64"), testbed.Padding(1<<20))
	byHand := h.Registry.Host + "/app@" + h.platformManifest(ref)
	h.pullByHand(byHand)
	id := h.imageID(byHand)
	h.Registry.Forget()
	rel := h.deploy()
	if rel.Artifacts[0].Digest != index || rel.Artifacts[0].Local != id {
		t.Errorf("got %+v, want index %s as image %s", rel.Artifacts[0], index, id)
	}
	if layers := h.Registry.Count("GET", "/blobs/"); layers > 1 { // its config
		t.Errorf("got %d blobs pulled again, want none but the config: %v", layers, h.Registry.Requests())
	}
	h.deployed(2)
	h.retain()
	if !h.has(id) {
		t.Error("what a human pulled was deleted")
	}
}

// TestField16TagThatMovesBetweenCheckAndDeploy: what was resolved is what runs.
func TestField16TagThatMovesBetweenCheckAndDeploy(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "1"))
	wanted := h.desired()
	_, later := h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "2"))
	rel := h.fetch(h.release(wanted))
	h.apply(rel)
	h.serves(agent.ServingNew, &rel, nil)
	if got := h.instance("web").Digests; !slices.Contains(got, wanted.Artifacts[0].Digest) || slices.Contains(got, later) {
		t.Errorf("got digests %v, want %s and not %s", got, wanted.Artifacts[0].Digest, later)
	}
}

// TestField16DigestThatTheRegistryHasCollected: it was resolved, then the tag
// moved on and the registry was cleaned up.
func TestField16DigestThatTheRegistryHasCollected(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "0"))
	serving := h.deploy()
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "1"))
	wanted := h.desired()
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "2"))
	if err := crane.Delete(h.Registry.Host + "/app@" + wanted.Artifacts[0].Digest); err != nil {
		t.Fatal(err)
	}
	_, err := h.target.Fetch(t.Context(), h.svc, h.release(wanted), nil)
	if !agent.IsPermanent(err) || !errors.Is(err, agent.ErrSourceMissing) || !strings.Contains(agent.Hint(err), "does not have it any more") {
		t.Errorf("got %v, hint %q, want a permanent ErrSourceMissing that says so", err, agent.Hint(err))
	}
	h.serves(agent.ServingNew, &serving, nil)
	next := h.deploy() // the next look resolves what there is
	h.serves(agent.ServingNew, &next, &serving)
}

func TestIrreversibleImages(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}, job: {image: 'REGISTRY/job:v'}}")
	h.Push("job", "v", testbed.Good)
	for value, want := range map[string]bool{"true": true, "1": true, "yes": true, "drops a column": true, "": false, "false": false, "False": false, "0": false, "no": false} {
		h.Push("app", "v", testbed.Good, testbed.Label("rollback-agent.irreversible", value))
		rel := h.fetch(h.release(h.desired()))
		if rel.Irreversible != want {
			t.Errorf("label %q: got irreversible %v, want %v", value, rel.Irreversible, want)
		}
		if again := h.fetch(rel); again.Irreversible != want {
			t.Errorf("label %q, when the image is here: got irreversible %v, want %v", value, again.Irreversible, want)
		}
	}
	h.Push("app", "v", testbed.Good)
	rel := h.release(h.desired())
	rel.Irreversible = true
	if !h.fetch(rel).Irreversible {
		t.Error("a release that was irreversible is no more")
	}
}
