package history

import (
	"errors"
	"testing"

	"rollback-agent/agent"
)

func fill(t *testing.T, s *Store, releases int64) {
	t.Helper()
	for n := int64(1); n <= releases; n++ {
		d := ended("web")
		d.To = n
		record(t, s, agent.Entry{Deployment: d, Releases: []agent.Release{stable("web", n)}})
	}
}

// restorable returns the releases that still have their snapshot.
func restorable(t *testing.T, s *Store) []int64 {
	t.Helper()
	all, err := s.Releases("web")
	if err != nil {
		t.Fatal(err)
	}
	kept := []int64{}
	for _, rel := range all {
		full, err := s.Release("web", rel.Number)
		if err != nil {
			t.Fatal(err)
		}
		if has := len(full.Snapshot.Data) > 0; has == full.Partial {
			t.Errorf("%s: got snapshot %t, partial %t, want one of them", agent.ReleaseName(rel.Number), has, full.Partial)
		}
		if !full.Partial {
			kept = append(kept, rel.Number)
		}
	}
	return kept
}

func TestPruneDropsWhatIsOld(t *testing.T) {
	s := openTemp(t)
	fill(t, s, 10)
	record(t, s, agent.Entry{Deployment: ended("api")})
	if err := s.Prune("web", 4, []int64{10, 9, 8}); err != nil {
		t.Fatal(err)
	}
	left, _ := s.Deployments(agent.HistoryFilter{})
	wantEqual(t, "deployments", ids(left), []int64{11, 10, 9, 8, 7})
	wantEqual(t, "restorable", restorable(t, s), []int64{10, 9, 8})
	all, _ := s.Releases("web")
	wantEqual(t, "described", numbers(all), []int64{10, 9, 8, 7}) // 7 is named by a deployment
}

func TestField43TwoStableReleasesAreKept(t *testing.T) {
	s := openTemp(t)
	fill(t, s, 4)
	for n := int64(5); n <= 9; n++ {
		bad := stable("web", n)
		bad.Standing = agent.StandingRejected
		record(t, s, agent.Entry{Releases: []agent.Release{bad}})
	}
	if err := s.Prune("web", 0, nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "restorable", restorable(t, s), []int64{4, 3})
}

func TestField43TwinsDoNotCountAsTwo(t *testing.T) {
	s := openTemp(t)
	fill(t, s, 3)
	for n := int64(4); n <= 6; n++ { // forced again and again
		twin := stable("web", n)
		twin.Fingerprint = "1:3"
		record(t, s, agent.Entry{Releases: []agent.Release{twin}})
	}
	if err := s.Prune("web", 0, nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "restorable", restorable(t, s), []int64{6, 5, 2})
}

func TestField43VerifiedOnesAreKeptBehindUnverified(t *testing.T) {
	s := openTemp(t)
	fill(t, s, 3)
	for n := int64(4); n <= 6; n++ {
		rel := stable("web", n)
		rel.Standing = agent.StandingUnverified
		record(t, s, agent.Entry{Releases: []agent.Release{rel}})
	}
	if err := s.Prune("web", 0, nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "restorable", restorable(t, s), []int64{6, 5, 3, 2})
}

func TestField04PruneSparesWhatIsOpenAndWhatServes(t *testing.T) {
	s := openTemp(t)
	open := queued("web")
	open.From, open.To = 1, 2
	record(t, s, agent.Entry{Deployment: open})
	fill(t, s, 8)
	record(t, s, agent.Entry{Service: &agent.ServiceRecord{Name: "web", Serving: 4}})
	if err := s.Prune("web", 0, nil); err != nil {
		t.Fatal(err)
	}
	left, _ := s.Deployments(agent.HistoryFilter{})
	wantEqual(t, "deployments", ids(left), []int64{1})
	wantEqual(t, "restorable", restorable(t, s), []int64{8, 7, 4, 2, 1})
}

func TestPruneInBatchesKeepsTheSeal(t *testing.T) {
	s := openTemp(t)
	err := s.update(func(w *writer) error {
		for range 2*pruneBatch + 7 {
			if _, err := w.deployment(*ended("web")); err != nil {
				return err
			}
		}
		w.seal.LastEvent = KeepEvents - 2
		for range 5 {
			if _, err := w.event(agent.Event{}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, s.Prune("web", 2, nil)); err != nil {
		t.Fatal(err)
	}
	path := s.Path()
	s.Close()
	if s = openAt(t, path); s.Damaged() != "" {
		t.Fatal("got a damaged store, want a whole one")
	}
	left, _ := s.Deployments(agent.HistoryFilter{})
	wantEqual(t, "deployments", ids(left), []int64{1007, 1006})
	events, _ := s.Events(0, 1)
	wantEqual(t, "oldest event", events[0].Seq, uint64(KeepEvents-1))
}
