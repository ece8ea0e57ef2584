package compose_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// pulled lists the images of this test's registry that are on the host, by ID.
func (h *host) pulled() []string {
	h.Helper()
	list, err := h.docker.ImageList(h.Context(), client.ImageListOptions{
		All: true, Filters: make(client.Filters).Add("label", testbed.RunLabel+"="+h.Testbed.Run),
	})
	if err != nil {
		h.Fatal(err)
	}
	var ids []string
	for _, i := range list.Items {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

func (h *host) retain(keep ...agent.Release) {
	h.Helper()
	if err := h.target.Retain(h.Context(), h.svc, keep); err != nil {
		h.Fatalf("Retain: %v", err)
	}
}

// TestField19FailuresLeaveNoImages deploys ten releases that fail, behind one tag
// and under tags of their own.
func TestField19FailuresLeaveNoImages(t *testing.T) {
	h := newHost(t)
	file := "services: {web: {image: 'REGISTRY/app:%s', stop_grace_period: 1s}}"
	h.Push("app", "stable", testbed.Good)
	h.compose(fmt.Sprintf(file, "stable"))
	serving := h.deploy()
	h.retain(serving)
	before := h.pulled()
	for n := range 10 {
		tag := "stable"
		if n >= 5 {
			tag = fmt.Sprintf("v%d", n)
		}
		h.Push("app", tag, testbed.Crash, testbed.Env("APP_GENERATION", fmt.Sprint(n)))
		h.compose(fmt.Sprintf(file, tag))
		h.deploy()
		back := h.fetch(h.restoring(serving))
		h.apply(back)
		serving = back
		h.retain(serving)
	}
	if after := h.pulled(); !slices.Equal(before, after) {
		t.Errorf("got images %v, want %v: failures fill the disk", after, before)
	}
	if tags := h.keepTags(); len(tags) != 1 {
		t.Errorf("got keep tags %v, want one", tags)
	}
	h.serves(agent.ServingNew, &serving, nil)
	if got := h.imageID(h.Ref("app", "stable")); got != serving.Artifacts[0].Local {
		t.Errorf("got %s at the file's tag, want the good image", got)
	}
}

// TestField19FailedFetchesLeaveNoImages breaks off fetches in several ways.
func TestField19FailedFetchesLeaveNoImages(t *testing.T) {
	file := "services: {web: {image: 'REGISTRY/app:%s'}, worker: {image: 'REGISTRY/worker:%s'}}"
	for name, prepare := range map[string]func(h *host) context.Context{
		"one of two is broken": func(h *host) context.Context {
			h.Push("app", "next", testbed.Good, testbed.Env("APP_GENERATION", "next"))
			h.PushBroken("worker", "next")
			return h.Context()
		},
		"another architecture": func(h *host) context.Context {
			h.Push("app", "next", testbed.Good, testbed.Env("APP_GENERATION", "next"))
			h.Push("worker", "next", testbed.Good, testbed.OtherArchitecture())
			return h.Context()
		},
		"given up": func(h *host) context.Context {
			_, digest := h.Push("app", "next", testbed.Good, testbed.Env("APP_GENERATION", "next"))
			h.Push("worker", "next", testbed.Good, testbed.Padding(1<<20))
			return h.untilHere(h.Registry.Host+"/app@"+digest, "worker")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.Push("app", "stable", testbed.Good)
			h.Push("worker", "stable", testbed.Good, testbed.Env("APP_GENERATION", "worker"))
			h.compose(fmt.Sprintf(file, "stable", "stable"))
			serving := h.deploy()
			h.retain(serving)
			before := h.pulled()
			ctx := prepare(h)
			h.compose(fmt.Sprintf(file, "next", "next"))
			_, err := h.target.Fetch(ctx, h.svc, h.release(h.desired()), nil)
			if err == nil {
				t.Fatal("got no error, want a Fetch that fails")
			}
			if during := h.pulled(); len(during) <= len(before) {
				t.Fatalf("got images %v during the Fetch, want more than %v: the test does not test", during, before)
			}
			testbed.Eventually(t, 20*time.Second, func() error { // an engine finishes what it has begun
				h.retain(serving)
				if after := h.pulled(); !slices.Equal(before, after) {
					return fmt.Errorf("got images %v, want %v", after, before)
				}
				return nil
			})
			h.serves(agent.ServingNew, &serving, nil)
		})
	}
}

// untilHere ends as soon as an image has its name on this host, while the blobs of
// another repository do not come.
func (h *host) untilHere(name, other string) context.Context {
	ctx, cancel := context.WithCancelCause(h.Context())
	h.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/"+other+"/blobs/") {
			h.Registry.Serve(w, r)
			return
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for !h.has(name) && r.Context().Err() == nil {
			<-tick.C
		}
		cancel(errors.New("something newer is wanted"))
	})
	return ctx
}

// TestField04HumansNamesAreSpared: whatever a human pulled or tagged stays.
func TestField04HumansNamesAreSpared(t *testing.T) {
	for name, c := range map[string]struct {
		human func(h *host, rel agent.Release)
		stays bool
	}{
		"nobody": {func(*host, agent.Release) {}, false},
		"a tag in the same repository": {func(h *host, rel agent.Release) {
			h.tag(rel.Artifacts[0].Local, h.Ref("app", "backup"))
		}, true},
		"a container, then a tag": {func(h *host, rel agent.Release) {
			id := h.run(rel.Artifacts[0].Local)
			h.retain(h.deployed(4))
			h.tag(rel.Artifacts[0].Local, h.Ref("app", "backup"))
			if _, err := h.docker.ContainerRemove(h.Context(), id, client.ContainerRemoveOptions{}); err != nil {
				h.Fatal(err)
			}
		}, true},
		"a name by digest": {func(h *host, rel agent.Release) {
			h.Push("mirror", "v", testbed.Good, testbed.Env("APP_GENERATION", "1"), testbed.Env("X", "same"))
			h.pullByHand(h.Registry.Host + "/mirror@" + rel.Artifacts[0].Digest)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
			h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "1"), testbed.Env("X", "same"))
			first := h.deploy()
			second := h.deployed(2)
			c.human(h, first)
			h.retain(second)
			h.retain(second)
			if got := h.has(first.Artifacts[0].Local); got != c.stays {
				t.Errorf("got here %v, want %v", got, c.stays)
			}
		})
	}
}

// deployed deploys another generation.
func (h *host) deployed(generation int) agent.Release {
	h.Helper()
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", fmt.Sprint(generation)))
	return h.deploy()
}

func (h *host) pullByHand(ref string) {
	h.Helper()
	pull, err := h.docker.ImagePull(h.Context(), ref, client.ImagePullOptions{})
	if err != nil {
		h.Fatal(err)
	}
	if err := pull.Wait(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// TestField19OneImageFromTwoRepositoriesGoes with the last service that needs it.
func TestField19OneImageFromTwoRepositoriesGoes(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"app", "mirror"} {
		h.Push(name, "v", testbed.Good, testbed.Env("APP_GENERATION", "twin"))
	}
	h.compose("services: {web: {image: 'REGISTRY/app:v'}, worker: {image: 'REGISTRY/mirror:v'}}")
	first := h.deploy()
	if first.Artifacts[0].Local != first.Artifacts[1].Local {
		t.Fatalf("got %+v, want one image: the test does not test", first.Artifacts)
	}
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	second := h.deploy()
	h.retain(second) // worker still needs it
	if !h.has(first.Artifacts[0].Local) {
		t.Fatal("an image was deleted that a part of the release needs")
	}
	h.Push("mirror", "v", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	h.retain(h.deploy())
	if h.has(first.Artifacts[0].Local) {
		t.Error("an image that was pulled under two names stays for ever")
	}
}
