package compose_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/target/compose"
	"rollback-agent/agent/testbed"
)

// kindOf matches an observation of a compose service.
func kindOf(kind agent.ObservationKind, artifact string) func(agent.Observation) bool {
	return func(o agent.Observation) bool { return o.Kind == kind && o.Instance.Artifact == artifact }
}

func TestObserveTellsCrashFromRequest(t *testing.T) {
	h := newHost(t)
	h.Push("app", "crash", testbed.Crash)
	h.Push("app", "good", testbed.Good)
	h.compose(`
services:
  crasher: {image: REGISTRY/app:crash, restart: always}
  dier: {image: REGISTRY/app:crash, restart: on-failure, environment: {APP_EXIT_CODE: "0"}}
  good: {image: REGISTRY/app:good, restart: always}
`)
	w := h.observe()
	h.deploy()
	crash := w.await(t, "a crash", kindOf(agent.ObservedExited, "crasher"))
	if crash.Instance.ExitCode != 1 || crash.Instance.Phase != agent.PhaseRestarting || !crash.Instance.WillRestart {
		t.Errorf("got %+v, want exit code 1 and a restart ahead", crash.Instance)
	}
	died := w.await(t, "the end", kindOf(agent.ObservedExited, "dier"))
	if died.Instance.ExitCode != 0 || died.Instance.WillRestart {
		t.Errorf("got %+v, want exit code 0 and no restart: the policy is on-failure", died.Instance)
	}
	w.await(t, "a restart", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedStarted && o.Instance.Artifact == "crasher" && o.Instance.Restarts > 0
	})

	id := h.instance("good").ID
	if _, err := h.docker.ContainerKill(t.Context(), id, client.ContainerKillOptions{Signal: "HUP"}); err != nil {
		t.Fatal(err)
	}
	hangup := w.await(t, "an exit", kindOf(agent.ObservedExited, "good"))
	if hangup.Instance.ExitCode != 129 && hangup.Instance.ExitCode != 2 {
		t.Errorf("got exit code %d, want that of a hang-up", hangup.Instance.ExitCode)
	}
	if _, err := h.docker.ContainerStart(t.Context(), id, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, stop := range []func() error{
		func() error {
			_, err := h.docker.ContainerRestart(t.Context(), id, client.ContainerRestartOptions{})
			return err
		},
		func() error {
			_, err := h.docker.ContainerStop(t.Context(), id, client.ContainerStopOptions{})
			return err
		},
	} {
		before := w.count(agent.ObservedStopped, "good")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, 20*time.Second, func() error {
			if w.count(agent.ObservedStopped, "good") == before+1 {
				return nil
			}
			return fmt.Errorf("got %d stops, want %d: %s", w.count(agent.ObservedStopped, "good"), before+1, w)
		})
	}
	if got := w.count(agent.ObservedExited, "good"); got != 1 {
		t.Errorf("got %d crashes of good, want only the hang-up: %s", got, w)
	}
}

func (w *watched) count(kind agent.ObservationKind, artifact string) int {
	n := 0
	for _, o := range w.all() {
		if kindOf(kind, artifact)(o) {
			n++
		}
	}
	return n
}

func TestObserveHealthAndMemory(t *testing.T) {
	h := newHost(t)
	h.Push("app", "good", testbed.Good, testbed.Check(time.Second, 0, 2))
	h.Push("app", "sick", testbed.Sick, testbed.Check(time.Second, 2*time.Second, 1))
	h.Push("app", "oom", testbed.OOM)
	h.compose(`
services:
  good: {image: REGISTRY/app:good}
  sick: {image: REGISTRY/app:sick}
  hungry: {image: REGISTRY/app:oom, mem_limit: 32m}
`)
	w := h.observe()
	h.deploy()
	w.await(t, "health", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedHealth && o.Instance.Artifact == "good" && o.Instance.Health == agent.HealthHealthy
	})
	w.await(t, "sickness", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedHealth && o.Instance.Artifact == "sick" && o.Instance.Health == agent.HealthUnhealthy
	})
	oom := w.await(t, "out of memory", kindOf(agent.ObservedExited, "hungry"))
	if !oom.Instance.OOMKilled || oom.Instance.ExitCode != 137 {
		t.Errorf("got %+v, want an OOM kill with exit code 137", oom.Instance)
	}
	if got, want := h.instance("sick").HealthBudget, 2*time.Second+(time.Second+3*time.Second); got != want {
		t.Errorf("got health budget %v, want %v", got, want)
	}
	h.diagnosed()
}

// diagnosed checks what Diagnose says of the services of the test above.
func (h *host) diagnosed() {
	h.Helper()
	found, err := h.target.Diagnose(h.Context(), h.svc)
	if err != nil {
		h.Fatal(err)
	}
	by := map[string]agent.Diagnosis{}
	for _, d := range found {
		by[d.Artifact] = d
	}
	if d := by["hungry"]; !d.OOMKilled || !slices.ContainsFunc(d.Log, func(l string) bool { return strings.Contains(l, "loading the whole table") }) {
		h.Errorf("got %+v, want OOMKilled and the last words", d)
	}
	if d := by["sick"]; d.Phase != agent.PhaseRunning || d.HealthOutput == "" {
		h.Errorf("got %+v, want a health output", d)
	}
}

func TestExec(t *testing.T) {
	h := newHost(t)
	h.Push("app", "good", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:good}}")
	h.deploy()
	var code int
	testbed.Eventually(t, 10*time.Second, func() (err error) {
		_, code, err = h.target.Exec(t.Context(), h.svc, "web", []string{"/app", "-check"})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	})
	if out, code, err := h.target.Exec(t.Context(), h.svc, "web", []string{"/absent"}); err == nil && code == 0 {
		t.Errorf("got %q, exit code 0, want a failure", out)
	}
	if _, _, err := h.target.Exec(t.Context(), h.svc, "other", []string{"/app"}); err == nil {
		t.Error("got no error for a compose service that does not run")
	}
}

func TestUnreachableEngine(t *testing.T) {
	target := compose.New(compose.Options{DockerConfig: t.TempDir()})
	defer target.Close()
	svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{"/nowhere/compose.yaml"}, Project: "nowhere", DockerHost: "unix:///nowhere.sock"}}
	_, err := target.Running(t.Context(), svc)
	if !errors.Is(err, agent.ErrUnreachable) || agent.Hint(err) == "" {
		t.Errorf("Running: got %v, want ErrUnreachable with a hint", err)
	}
	wanted, err := target.Desired(t.Context(), svc)
	if !errors.Is(err, agent.ErrUnreachable) || !slices.Contains(wanted.Files, "/nowhere/compose.yaml") {
		t.Errorf("Desired: got %v, files %v, want ErrUnreachable and the compose file", err, wanted.Files)
	}
}
