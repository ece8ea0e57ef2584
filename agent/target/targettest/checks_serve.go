package targettest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"rollback-agent/agent"
)

func applyServes(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	s.serves(agent.ServingNew, &first, nil)
	second := s.deploy(Version{Content: "two"})
	s.serves(agent.ServingNew, &second, &first)
}

func applyTwice(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.deploy(Version{Content: "one"})
	before := s.running().Instances
	s.apply(rel)
	after := s.running().Instances
	if len(before) != len(after) {
		t.Fatalf("got %d instances, want %d", len(after), len(before))
	}
	for i := range before {
		if before[i].ID != after[i].ID || !before[i].StartedAt.Equal(after[i].StartedAt) {
			t.Errorf("got %+v, want %+v left alone", after[i], before[i])
		}
	}
}

func applyNeedsAFetch(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	s.Want(t, Version{Content: "two"})
	second := s.release(s.desired())
	if err := s.Target().Apply(s.Context(), s.Service(), second, 100); err == nil {
		t.Error("got no error from an Apply without a Fetch")
	}
	s.serves(agent.ServingOld, &second, &first)
}

func applyWorksFromTheSnapshot(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.prepare(Version{Content: "one", Config: "a"})
	s.Want(t, Version{Content: "two", Config: "b"})
	other := s.release(s.desired())
	s.Break(t)
	s.apply(rel)
	s.serves(agent.ServingNew, &rel, &other)
}

func applyEdit(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one", Config: "a"})
	before := s.ids()
	second := s.deploy(Version{Content: "one", Config: "b"})
	s.serves(agent.ServingNew, &second, &first)
	if after := s.ids(); slices.Equal(before, after) {
		t.Errorf("got instances %v before and after an edit", after)
	}
}

func applyAfterInterruption(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	second := s.prepare(Version{Content: "two"})
	errCut := errors.New("cut off by the suite")
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond} {
		ctx, cancel := context.WithTimeoutCause(s.Context(), after, errCut)
		_ = s.Target().Apply(ctx, s.Service(), second, 100) // whatever it got done
		cancel()
	}
	s.apply(second)
	s.serves(agent.ServingNew, &second, &first)
	if got := s.running(); len(got.Residue) > 0 {
		t.Errorf("got residue %v, want none", got.Residue)
	}
}

func rollbackRestores(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	second := s.deploy(Version{Content: "two", Fate: Crashing})
	back := s.fetch(s.restoring(first))
	s.apply(back)
	s.serves(agent.ServingNew, &back, &second)
	s.serves(agent.ServingOld, &second, &first)
}

func rollbackOfAnEdit(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one", Config: "a"})
	second := s.deploy(Version{Content: "one", Config: "b"})
	back := s.fetch(s.restoring(first))
	s.apply(back)
	s.serves(agent.ServingNew, &back, &second)
}

func rollbackOffline(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	second := s.deploy(Version{Content: "two", Fate: Sick})
	s.Withdraw(t)
	s.Break(t)
	back := s.fetch(s.restoring(first))
	s.apply(back)
	s.serves(agent.ServingNew, &back, &second)
}

func stoppedServesNone(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.deploy(Version{Content: "one"})
	s.Stop(t)
	s.serves(agent.ServingNone, &rel, nil)
	if got := s.running(); len(got.Instances) == 0 {
		t.Error("got no instances, want the stopped ones")
	}
	s.apply(rel)
	s.serves(agent.ServingNew, &rel, nil)
}

func retainKeeps(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	second := s.deploy(Version{Content: "two"})
	s.retain(first, second)
	s.retain(first, second)
	s.Withdraw(t)
	back := s.fetch(s.restoring(first))
	s.apply(back)
	s.serves(agent.ServingNew, &back, &second)
}

func retainLetsGo(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	second := s.deploy(Version{Content: "two"})
	s.retain(second)
	if s.Here(t, first.Artifacts[0]) {
		t.Error("what no release needs is still on the host")
	}
	s.serves(agent.ServingNew, &second, &first)
}

func retainSpares(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.deploy(Version{Content: "one"})
	s.retain()
	if !s.Here(t, rel.Artifacts[0]) {
		t.Error("what serves was deleted")
	}
	s.serves(agent.ServingNew, &rel, nil)
}

func (s *stage) retain(keep ...agent.Release) {
	s.Helper()
	if err := s.Target().Retain(s.Context(), s.Service(), keep); err != nil {
		s.Fatalf("Retain: got %v, want no error", err)
	}
}
