package compose_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// beside is another service on the same host, with a project of its own, the same
// registry and the same agent.
func (h *host) beside() *host {
	h.Helper()
	other := *h
	other.project, other.dir, other.last = h.Testbed.Project(h.T), h.TempDir(), 0
	h.Cleanup(other.removeVolumes)
	other.svc = agent.Service{Name: other.project, Target: "compose", Compose: agent.Compose{
		Files: []string{filepath.Join(other.dir, "compose.yaml")}, Project: other.project, DockerHost: os.Getenv("DOCKER_HOST"),
	}}
	return &other
}

// TestServicesThatShareATagDoNotBreakEachOther: the last Apply has the tag, and
// everybody has their images.
func TestServicesThatShareATagDoNotBreakEachOther(t *testing.T) {
	a := newHost(t)
	b := a.beside()
	file := "services: {web: {image: 'REGISTRY/app:v', stop_grace_period: 1s}}"
	a.compose(file)
	b.compose(file)
	push := func(generation string) { a.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", generation)) }
	push("1")
	a1, b1 := a.deploy(), b.deploy()
	push("2")
	a2, b2 := a.deploy(), b.deploy()
	old, recent := a1.Artifacts[0].Local, a2.Artifacts[0].Local

	// a goes back: it has the tag now, b goes on serving what it serves.
	before := b.ids()
	a3 := a.fetch(a.restoring(a1))
	a.apply(a3)
	a.retain(a3)
	a.serves(agent.ServingNew, &a3, &a2)
	b.serves(agent.ServingNew, &b2, &b1)
	if after := b.ids(); !slices.Equal(before, after) {
		t.Errorf("got containers %v of the other service, want %v", after, before)
	}
	if got := a.imageID(a.Ref("app", "v")); got != old {
		t.Errorf("got %s at the tag, want %s, of the last Apply", got, old)
	}
	if kept := a.ids(); !strings.Contains(a.human("up", "-d"), "Running") || !slices.Equal(kept, a.ids()) {
		t.Error("a human's `up` of the service that was applied last changes it")
	}

	// What b serves, and what it could go back to, is spared whatever a keeps.
	push("3")
	a4 := a.deploy()
	a.retain(a4)
	b.retain(b2, b1)
	a.retain(a4)
	if !a.has(old) || !a.has(recent) {
		t.Errorf("got old %v and recent %v here, want both: the other service needs them", a.has(old), a.has(recent))
	}
	a.Registry.Intercept(refuse)
	b3 := b.fetch(b.restoring(b1))
	b.apply(b3)
	b.serves(agent.ServingNew, &b3, &b2)
	a.serves(agent.ServingNew, &a4, &a3)

	// Once nobody needs it, it goes, whoever cleans up.
	b.retain(b3)
	if a.has(recent) {
		t.Error("an image that no service needs stays")
	}
	if !a.has(old) || !a.has(a4.Artifacts[0].Local) {
		t.Error("an image that serves was deleted")
	}
}

// TestField09DependentsFollowANewImage: the sidecar's own image and config stay
// the same.
func TestField09DependentsFollowANewImage(t *testing.T) {
	h := newHost(t)
	h.Push("app", "v", testbed.Good)
	h.Push("side", "v", testbed.Good, testbed.Env("APP_GENERATION", "side"))
	h.compose(`
services:
  web: {image: REGISTRY/app:v, stop_grace_period: 1s}
  sidecar: {image: REGISTRY/side:v, network_mode: "service:web", environment: {APP_ADDR: ":9090"}, stop_grace_period: 1s}
`)
	first := h.deploy()
	h.sidecarFollows()
	h.Push("app", "v", testbed.Sick, testbed.Env("APP_GENERATION", "2"))
	second := h.deploy()
	h.sidecarFollows()
	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.sidecarFollows()
	h.serves(agent.ServingNew, &back, &second)
	if got := h.instance("sidecar").Phase; got != agent.PhaseRunning {
		t.Errorf("got the sidecar %s, want running", got)
	}
}

// TestField14NameInUse: somebody else's container has the name.
func TestField14NameInUse(t *testing.T) {
	h := newHost(t)
	ref, _ := h.Push("app", "v", testbed.Good)
	h.compose(strings.ReplaceAll("services: {web: {image: REGISTRY/app:v, container_name: NAME}}", "NAME", h.project+"-taken"))
	rel := h.fetch(h.release(h.desired()))
	h.pullByHand(ref)
	stranger, err := h.docker.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: h.project + "-taken", Config: &container.Config{Image: ref},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = h.target.Apply(t.Context(), h.svc, rel, 100)
	if err == nil || agent.IsPermanent(err) || !strings.Contains(agent.Hint(err), "docker ps -a") {
		t.Errorf("got %v, hint %q, want an error that says where to look", err, agent.Hint(err))
	}
	if _, err := h.docker.ContainerRemove(t.Context(), stranger.ID, client.ContainerRemoveOptions{}); err != nil {
		t.Errorf("the stranger is gone: %v", err)
	}
	h.apply(rel)
	h.cleanServing(rel)
}

// TestField25SomebodyElsesUpIsSeen: neither the new nor the old release, and no
// fight about it.
func TestField25SomebodyElsesUpIsSeen(t *testing.T) {
	h := newHost(t)
	h.Push("app", "v", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:v, stop_grace_period: 1s}}")
	first := h.deploy()
	h.Push("app", "v", testbed.Good, testbed.Env("APP_GENERATION", "2"))
	second := h.deploy()
	w := h.observe()
	h.compose("services: {web: {image: REGISTRY/app:v, stop_grace_period: 1s, environment: {BY: hand}}}")
	h.human("up", "-d")
	h.serves(agent.ServingOther, &second, &first)
	theirs := h.instance("web")
	w.await(t, "the human's container", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedSnapshot && len(o.Instances) == 1 && o.Instances[0].ID == theirs.ID
	})
	for _, o := range w.all() {
		if o.Kind == agent.ObservedExited {
			t.Errorf("got a crash, want a stop: %s", w)
		}
	}
	adopted := h.fetch(h.release(h.desired())) // what they made is what the file describes
	h.serves(agent.ServingNew, &adopted, &second)
}
