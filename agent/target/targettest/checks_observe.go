package targettest

import (
	"fmt"
	"testing"

	"rollback-agent/agent"
)

func observeBegins(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.deploy(Version{Content: "one"})
	c := s.observe()
	first := c.all()[0]
	if first.Kind != agent.ObservedSnapshot || len(first.Instances) != len(s.ids()) {
		t.Fatalf("got %+v first, want a snapshot of everything that runs", first)
	}
	running := agent.Running{Instances: first.Instances}
	if got := running.Serves(&rel, nil); got != agent.ServingNew {
		t.Errorf("got a snapshot that serves %q, want what Running says: %+v", got, first.Instances)
	}
}

func observeTellsNew(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	c := s.observe()
	rel := s.deploy(Version{Content: "one"})
	c.await("start", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedStarted && o.Instance.Runs(rel.Artifacts[0])
	})
	c.await("snapshot with the new instance", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedSnapshot && len(o.Instances) == rel.Artifacts[0].Count
	})
}

func observeTellsExits(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	c := s.observe()
	rel := s.deploy(Version{Content: "bad", Fate: Crashing})
	exit := c.awaitKind(agent.ObservedExited)
	if exit.Instance.ExitCode == 0 || exit.Instance.Phase == agent.PhaseRunning || !exit.Instance.Runs(rel.Artifacts[0]) {
		t.Errorf("got %+v, want the instance as it is after the exit, with its exit code", exit.Instance)
	}
}

func observeTellsHealth(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	c := s.observe()
	s.deploy(Version{Content: "bad", Fate: Sick})
	c.await("unhealthy", func(o agent.Observation) bool {
		return o.Kind == agent.ObservedHealth && o.Instance.Health == agent.HealthUnhealthy
	})
	s.eventually(func() error {
		for _, i := range s.running().Instances {
			if i.Health != agent.HealthUnhealthy {
				return fmt.Errorf("Running: got health %q, want unhealthy", i.Health)
			}
		}
		return nil
	})
}

func observeTellsStops(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.deploy(Version{Content: "one"})
	c := s.observe()
	s.Stop(t)
	c.awaitKind(agent.ObservedStopped)
	for _, o := range c.all() {
		if o.Kind == agent.ObservedExited {
			t.Errorf("got an unrequested exit, want only stops: %s", c)
		}
	}
}

func observeEnds(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.deploy(Version{Content: "one"})
	one, two := s.observe(), s.observe()
	one.end()
	before := len(one.all())
	s.Stop(t)
	two.awaitKind(agent.ObservedStopped) // the end of one does not end the other
	if after := len(one.all()); after != before {
		t.Errorf("got %d observations after the end, want none", after-before)
	}
	s.serves(agent.ServingNone, &rel, nil)
}

func diagnoseNamesExit(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.deploy(Version{Content: "bad", Fate: Crashing})
	s.eventually(func() error {
		found, err := s.Target().Diagnose(s.Context(), s.Service())
		if err != nil {
			return err
		}
		for _, d := range found {
			if d.Artifact != "" && d.Instance != "" && (d.ExitCode != 0 || d.Restarts > 0) && len(d.Log) > 0 {
				return nil
			}
		}
		return fmt.Errorf("got %+v, want an exit and log lines", found)
	})
}
