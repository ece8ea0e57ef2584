package deploy_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

func TestUnreachableApplyThenReconnectIsNotForeign(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Fail(targettest.MethodApply, -1, agent.ErrUnreachable)
		w.want("v2", "a")
		w.until(agent.StateHeld)
		w.engine.Mend(targettest.MethodApply)
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := w.newest(); d.State != agent.StateHeld {
			t.Errorf("got %s (%s), want held", d.State, d.Reason)
		}
	})
}

func TestRevertedWhileFetching(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Takes(targettest.MethodFetch, time.Minute)
		w.want("v2", "a")
		w.until(agent.StateFetching)
		time.Sleep(10 * time.Second)
		w.want("v1", "a")
		applies := w.engine.Calls(targettest.MethodApply)
		w.settle()
		if got := w.engine.Calls(targettest.MethodApply); got != applies {
			t.Errorf("got %d applies, want none: v2 was taken back before anything changed", got-applies)
		}
	})
}

func TestChangeWhileVerifyingSupersedesTheWatch(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.want("v3", "a")
		w.settle()
		before, err := w.store.Deployment(2)
		if err != nil {
			t.Fatal(err)
		}
		w.ended(before, agent.StateSuperseded, agent.ReasonNewer)
		if took := before.EndedAt.Sub(before.StartedAt); took > 15*time.Second {
			t.Errorf("got v3 after %s, want it to supersede the watch at once", took)
		}
	})
}

func TestSkipIsRecordedOnce(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.want("v2", "a")
		w.settle()
		for range 10 {
			w.worker.Changed(agent.Change{Service: service, Cause: "registry"})
			time.Sleep(time.Minute)
		}
		events, _ := w.store.Events(0, 0)
		n := 0
		for _, e := range events {
			if e.Kind == agent.EventSkipped {
				n++
			}
		}
		if n != 1 {
			t.Errorf("got %d skipped events, want 1", n)
		}
	})
}

func TestIdleEndsAndTheChangeDeploys(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Stop(service)
		time.Sleep(time.Second)
		w.want("v2", "a")
		time.Sleep(10 * time.Second)
		w.engine.Start(service)
		time.Sleep(time.Hour)
		synctest.Wait()
		w.runs("v2", "a")
	})
}

func TestStaleExitIsNotEvidence(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Crash(service, 1)
		time.Sleep(time.Minute)
		r, err := w.order(agent.Order{Verb: agent.VerbDeploy})
		if err != nil {
			t.Fatal(r, err)
		}
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func (w *world) wantTwo(version string) {
	ref := "app:" + version
	w.registry.mu.Lock()
	w.registry.digests[ref] = "sha256:" + version
	w.registry.digests["side:1"] = "sha256:side"
	w.registry.mu.Unlock()
	w.engine.SetWanted(agent.Wanted{Artifacts: []agent.Artifact{{Name: "app", Ref: ref, Count: 1}, {Name: "side", Ref: "side:1", Count: 1}}, ConfigHash: "a"})
	if w.worker != nil {
		w.worker.Changed(agent.Change{Service: service, Cause: "files"})
	}
}

func TestUnchangedSiblingCrashed(t *testing.T) {
	scene(t, func(w *world) {
		w.wantTwo("v1")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.wantTwo("v2")
		w.until(agent.StateVerifying)
		time.Sleep(time.Second)
		w.engine.Crash(service, 1)
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
	})
}

func TestMixedAdoptionDoesNotLoop(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v1", Digest: "sha256:v1", Count: 2}}, "a")
		w.engine.Foreign(service, func(is []agent.Instance) []agent.Instance {
			is[1].Local, is[1].Config = "image:other", "config:other"
			return is
		})
		m := &limited{Recorder: w.store, left: 200}
		w.recorder = m
		w.want("v9", "a")
		w.begin()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		all, _ := w.store.Deployments(agent.HistoryFilter{})
		if len(all) > 3 {
			t.Errorf("got %d deployments in 10 s, want a few", len(all))
		}
	})
}

type limited struct {
	deploy.Recorder
	left int
}

func (l *limited) Record(e agent.Entry) (agent.Entry, error) {
	if l.left--; l.left < 0 {
		return agent.Entry{}, errDead
	}
	return l.Recorder.Record(e)
}

func TestCriticalProbesEnd(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.Health.URL, w.svc.Health.Interval = "http://x", time.Second
		w.probe = func(ctx context.Context, svc agent.Service, report func(agent.Sample)) {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
					report(agent.Sample{At: time.Now(), Gate: "http", Passed: true, Detail: "200"})
				}
			}
		}
		w.good()
		w.engine.Behave("sha256:v1", targettest.Unhealthy)
		w.engine.Behave("sha256:v2", targettest.Unhealthy)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateRollbackFailed, agent.ReasonRollbackFailed)
		w.die()
	})
}

func TestRollbackHonoursTheHealthcheckBudget(t *testing.T) {
	scene(t, func(w *world) {
		slow := targettest.Behaviour{Health: agent.HealthHealthy, HealthAfter: 150 * time.Second, Budget: 200 * time.Second}
		w.engine.Behave("sha256:v1", slow)
		w.want("v1", "a")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
	})
}

func TestForeignDuringRollbackIsAdopted(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v1", targettest.NeverReady)
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.want("v2", "a")
		w.until(agent.StateRollingBack)
		time.Sleep(5 * time.Second)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v7", Digest: "sha256:v7", Count: 1}}, "theirs")
		d := w.settle()
		if d.Kind != agent.KindAdopt {
			t.Errorf("got %s, want what is theirs adopted", d.Kind)
		}
	})
}

// The old release serves while a slot is awaited, and news takes over.
func TestWaitingForASlotIsNoApply(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.die()
		limits := deploy.NewLimits(2, 0) // all slots taken by others
		w.options = func(o *deploy.Options) { o.Limits = limits }
		w.begin()
		w.want("v2", "a")
		w.until(agent.StateFetching)
		time.Sleep(3 * time.Hour)
		if d := w.newest(); d.State != agent.StateFetching {
			t.Errorf("got %s, want it to wait before it touches anything", d.State)
		}
		w.want("v3", "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		waited, err := w.store.Deployment(2)
		if err != nil {
			t.Fatal(err)
		}
		w.ended(waited, agent.StateSuperseded, agent.ReasonNewer)
	})
}

func TestRetentionKeepsTwoDifferentStableOnes(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.settle()
		for _, v := range []string{"v3", "v4"} {
			w.engine.Behave("sha256:"+v, targettest.Dies)
			w.want(v, "a")
			w.settle()
		}
		w.runs("v2", "a")
		if !w.engine.Here("sha256:v1") {
			t.Error("got v1 deleted, want two different stable releases kept")
		}
	})
}

func TestCriticalProbesDoNotJudgeTheNext(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.Health.URL, w.svc.Health.Interval = "http://x", time.Second
		running := 0
		most := 0
		w.probe = func(ctx context.Context, svc agent.Service, report func(agent.Sample)) {
			running++
			most = max(most, running)
			defer func() { running-- }()
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
					report(agent.Sample{At: time.Now(), Gate: "http", Passed: true, Detail: "200"})
				}
			}
		}
		w.good()
		w.engine.Behave("sha256:v1", targettest.Unhealthy)
		w.engine.Behave("sha256:v2", targettest.Unhealthy)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateRollbackFailed, agent.ReasonRollbackFailed)
		w.order(agent.Order{Verb: agent.VerbResume})
		w.want("v3", "a")
		w.settle()
		if most > 1 {
			t.Errorf("got %d probes at once, want 1", most)
		}
	})
}

// a pause that is answered must not be overwritten by an older record

type failOnce struct {
	deploy.Recorder
	fail atomic.Bool
}

func (f *failOnce) Record(e agent.Entry) (agent.Entry, error) {
	if e.Deployment != nil && f.fail.CompareAndSwap(true, false) {
		return agent.Entry{}, errors.New("disk full")
	}
	return f.Recorder.Record(e)
}

func TestIdleExitsAreNotEvidence(t *testing.T) {
	scene(t, func(w *world) {
		b := targettest.Healthy
		b.Restarts = true
		w.engine.Behave("sha256:side", b)
		w.engine.Behave("sha256:v1", b)
		w.wantTwo("v1")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		for range 3 { // over months
			w.engine.Crash(service, 1)
			time.Sleep(24 * time.Hour)
		}
		w.wantTwo("v2")
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func TestObserveErrorInMidApply(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.die()
		w.engine.Fail(targettest.MethodObserve, 1, errors.New("two projects claim this file"))
		w.begin()
		time.Sleep(time.Minute)
		synctest.Wait()
		r, err := w.order(agent.Order{Verb: agent.VerbPause})
		if err != nil {
			t.Fatal(r, err)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestUnverifiedRollbackAfterASlowFetch(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Bare)
		w.want("v1", "a")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonUnverified)
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.engine.Takes(targettest.MethodFetch, 95*time.Second)
		w.want("v2", "a")
		time.Sleep(96 * time.Second)
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
	})
}
