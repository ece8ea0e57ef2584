package targettest_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target/targettest"
)

func wanted(digest, config string) agent.Wanted {
	return agent.Wanted{
		Artifacts:  []agent.Artifact{{Name: "web", Ref: "app:1", Digest: digest, Count: 1}},
		ConfigHash: config,
		Files:      []string{"/srv/compose.yaml"},
	}
}

// release is what the core makes of what Desired returned.
func release(t *testing.T, f *targettest.Fake, svc agent.Service, number int64) agent.Release {
	t.Helper()
	w, err := f.Desired(t.Context(), svc)
	if err != nil {
		t.Fatal(err)
	}
	rel := agent.Release{
		Service: svc.Name, Number: number, Artifacts: w.Artifacts, ConfigHash: w.ConfigHash, Snapshot: w.Snapshot,
	}
	if rel, err = f.Fetch(t.Context(), svc, rel, nil); err != nil {
		t.Fatal(err)
	}
	return rel
}

func TestFakeCrashesInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, svc := targettest.NewFake(), agent.Service{Name: "web"}
		f.SetWanted(wanted("sha256:bad", "a"))
		f.Behave("sha256:bad", targettest.Crash)
		rel := release(t, f, svc, 1)

		var mu sync.Mutex
		var kinds []agent.ObservationKind
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			f.Observe(ctx, svc, func(o agent.Observation) {
				mu.Lock()
				defer mu.Unlock()
				kinds = append(kinds, o.Kind)
			})
		})
		synctest.Wait()
		if err := f.Apply(t.Context(), svc, rel, 100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(650 * time.Millisecond) // exits after 200 ms, restarts after 100 ms
		synctest.Wait()
		cancel()
		wg.Wait()

		want := []agent.ObservationKind{
			agent.ObservedSnapshot, agent.ObservedSnapshot, agent.ObservedStarted, agent.ObservedExited,
			agent.ObservedStarted, agent.ObservedExited, agent.ObservedStarted,
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("got %v, want %v", kinds, want)
		}
		running, err := f.Running(t.Context(), svc)
		if err != nil || len(running.Instances) != 1 || running.Instances[0].Restarts != 2 {
			t.Errorf("got %+v, %v, want one instance restarted twice", running, err)
		}
	})
}

func TestFakeScriptsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, svc := targettest.NewFake(), agent.Service{Name: "web"}
		f.SetWanted(wanted("sha256:good", "a"))
		rel := release(t, f, svc, 1)

		f.Fail(targettest.MethodApply, 1, agent.ErrPreflight)
		if err := f.Apply(t.Context(), svc, rel, 100); err != agent.ErrPreflight {
			t.Errorf("got %v, want the scripted error", err)
		}
		f.Hang(targettest.MethodApply, 1)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, context.DeadlineExceeded)
		defer cancel()
		begin := time.Now()
		if err := f.Apply(ctx, svc, rel, 100); err == nil || time.Since(begin) != time.Hour {
			t.Errorf("got %v after %v, want an error after an hour", err, time.Since(begin))
		}
		if err := f.Apply(t.Context(), svc, rel, 100); err != nil {
			t.Errorf("got %v, want the third Apply to work", err)
		}
		if got := f.Calls(targettest.MethodApply); got != 3 {
			t.Errorf("got %d calls, want 3", got)
		}
	})
}
