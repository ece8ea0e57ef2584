package compose_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

func TestField01FailedUpLeavesTheOldReleaseRestorable(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	first := h.deploy()
	h.compose("services: {web: {image: REGISTRY/app:stable, entrypoint: [/absent]}}")
	second := h.fetch(h.release(h.desired()))
	if err := h.target.Apply(t.Context(), h.svc, second, 100); err == nil {
		t.Fatal("got no error from an Up whose container cannot start")
	}
	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.serves(agent.ServingNew, &back, &second)
}

func TestField02PullThatFailsInsideItsStream(t *testing.T) {
	h := newHost(t)
	h.PushBroken("app", "stable")
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	rel := h.release(h.desired())
	if _, err := h.target.Fetch(t.Context(), h.svc, rel, nil); err == nil {
		t.Fatal("got no error from a pull that ended without its image")
	}
	if got := h.ids(); len(got) != 0 {
		t.Errorf("got containers %v, want none", got)
	}
}

func TestField05SourceOfRollbackIsGone(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	first := h.deploy()
	h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	second := h.deploy()
	h.removeImage(first.Artifacts[0].Local)
	h.Registry.Intercept(refuse)
	before := h.ids()

	_, err := h.target.Fetch(t.Context(), h.svc, h.restoring(first), nil)
	if !errors.Is(err, agent.ErrSourceMissing) || agent.Hint(err) == "" {
		t.Errorf("got %v, want ErrSourceMissing with a hint", err)
	}
	h.serves(agent.ServingNew, &second, &first)
	if after := h.ids(); !slices.Equal(before, after) {
		t.Errorf("got containers %v, want %v untouched", after, before)
	}
	h.Registry.Intercept(nil)
	back := h.fetch(h.restoring(first)) // by digest, although the tag is another image now
	h.apply(back)
	h.serves(agent.ServingNew, &back, &second)
}

func TestField05RollbackWorksOffline(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	first := h.deploy()
	h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	second := h.deploy()
	h.Registry.Intercept(refuse)
	h.Registry.Forget()
	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.serves(agent.ServingNew, &back, &second)
	if got := h.Registry.Requests(); len(got) > 0 {
		t.Errorf("got requests %v, want none", got)
	}
}

func TestField07RollbackRunsTheDigestNotTheTag(t *testing.T) {
	h := newHost(t)
	_, digest := h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	first := h.deploy()
	_, bad := h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	h.deploy()
	back := h.fetch(h.restoring(first))
	h.apply(back)
	if got := h.instance("web").Digests; !slices.Contains(got, digest) || slices.Contains(got, bad) {
		t.Errorf("got digests %v, want %s and not %s", got, digest, bad)
	}
}

func TestField09NamespaceDependentsLiveInTheNewContainer(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose(`
services:
  web: {image: REGISTRY/app:stable}
  sidecar: {image: REGISTRY/app:stable, network_mode: "service:web", environment: {APP_ADDR: ":9090"}}
`)
	h.svc.Compose.Services = []string{"web"} // the sidecar comes along by itself
	first := h.deploy()
	h.sidecarFollows()
	h.serves(agent.ServingNew, &first, nil)
	h.compose(`
services:
  web: {image: REGISTRY/app:stable, environment: {EDITED: "1"}}
  sidecar: {image: REGISTRY/app:stable, network_mode: "service:web", environment: {APP_ADDR: ":9090"}}
`)
	second := h.deploy()
	h.sidecarFollows()
	h.serves(agent.ServingNew, &second, &first)
	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.sidecarFollows()
	h.serves(agent.ServingNew, &back, &second)
}

// sidecarFollows checks that the sidecar shares the living container's network.
func (h *host) sidecarFollows() {
	h.Helper()
	mode := h.inspect("sidecar").HostConfig.NetworkMode
	if want := "container:" + h.instance("web").ID; string(mode) != want {
		h.Errorf("got network mode %s, want %s", mode, want)
	}
}

func (h *host) inspect(artifact string) container.InspectResponse {
	h.Helper()
	result, err := h.docker.ContainerInspect(h.Context(), h.instance(artifact).ID, client.ContainerInspectOptions{})
	if err != nil {
		h.Fatal(err)
	}
	return result.Container
}

func TestField10EveryContainerIsJudgedAndNoOther(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.Push("app", "job", testbed.Job)
	h.compose(`
services:
  web: {image: REGISTRY/app:stable, scale: 3, depends_on: {migrate: {condition: service_completed_successfully}}}
  migrate: {image: REGISTRY/app:job}
  other: {image: REGISTRY/app:stable, profiles: [debug]}
`)
	rel := h.deploy()
	h.runOneOff("web")
	count := map[string]int{}
	for _, i := range h.running().Instances {
		count[i.Artifact]++
	}
	if count["web"] != 3 || count["migrate"] != 1 || len(count) != 2 {
		t.Errorf("got %v, want 3 web, 1 migrate", count)
	}
	h.serves(agent.ServingNew, &rel, nil)
	migrated := h.instance("migrate")
	if migrated.Phase != agent.PhaseExited || migrated.ExitCode != 0 {
		t.Errorf("got %+v, want the one-shot done", migrated)
	}
	h.apply(rel)
	if again := h.instance("migrate"); !again.StartedAt.Equal(migrated.StartedAt) {
		t.Error("the one-shot ran again although it was done")
	}
}

// runOneOff starts what `docker compose run` would.
func (h *host) runOneOff(service string) {
	h.Helper()
	created, err := h.docker.ContainerCreate(h.Context(), client.ContainerCreateOptions{Config: &container.Config{
		Image: h.Ref("app", "stable"),
		Labels: map[string]string{
			"com.docker.compose.project": h.project, "com.docker.compose.service": service,
			"com.docker.compose.oneoff": "True", "com.docker.compose.config-hash": "x",
		},
	}})
	if err != nil {
		h.Fatal(err)
	}
	if _, err := h.docker.ContainerStart(h.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
		h.Fatal(err)
	}
}

func TestField13RollbackCoversTheWholeService(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.Push("app", "crash", testbed.Crash)
	h.Push("app", "job", testbed.Job)
	good := `
services:
  web: {image: REGISTRY/app:stable, depends_on: {migrate: {condition: service_completed_successfully}}}
  worker: {image: REGISTRY/app:stable, environment: {EDITED: "EDIT"}}
  migrate: {image: REGISTRY/app:job, environment: {EDITED: "EDIT"}}
`
	h.compose(strings.ReplaceAll(good, "EDIT", "1"))
	first := h.deploy()
	h.compose(strings.ReplaceAll(strings.ReplaceAll(good, "EDIT", "2"), "worker: {image: REGISTRY/app:stable", "worker: {image: REGISTRY/app:crash"))
	second := h.deploy()
	migrated := h.instance("migrate").StartedAt
	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.serves(agent.ServingNew, &back, &second)
	for _, i := range h.running().Instances {
		if i.Artifact == "migrate" && i.StartedAt.After(migrated) {
			t.Errorf("the rollback ran the one-shot again: %+v", i)
		}
	}
}
