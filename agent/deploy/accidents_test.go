package deploy_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

type killAt struct {
	deploy.Recorder
	state agent.State
	dead  chan struct{}
}

func (m *killAt) Record(e agent.Entry) (agent.Entry, error) {
	select {
	case <-m.dead:
		return agent.Entry{}, errDead
	default:
	}
	got, err := m.Recorder.Record(e)
	if e.Deployment != nil && e.Deployment.State == m.state {
		close(m.dead)
		return agent.Entry{}, errDead
	}
	return got, err
}

// restartAfterKill kills the agent right after it recorded state, and starts it again after pause.

func (w *world) killedIn(state agent.State, pause time.Duration, before func()) {
	w.die()
	m := &killAt{Recorder: w.store, state: state, dead: make(chan struct{})}
	w.recorder = m
	w.begin()
	if before != nil {
		before()
	}
	<-m.dead
	w.die()
	time.Sleep(pause)
	w.recorder = w.store
	w.begin()
}

func TestRollbackAfterLongDowntime(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.killedIn(agent.StateRollingBack, 5*time.Minute, func() { w.want("v2", "a") })
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a")
	})
}

func TestApplyAfterLongDowntime(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.killedIn(agent.StateApplying, 15*time.Minute, func() { w.want("v2", "a") })
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func TestFetchAfterLongDowntime(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.killedIn(agent.StateFetching, 45*time.Minute, func() { w.want("v2", "a") })
		w.settle()
		time.Sleep(time.Hour)
		w.runs("v2", "a")
	})
}

func TestHoldAfterFailedApplyIsNotForeign(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.OnFailure = agent.ActionHold
		w.good()
		w.engine.Fail(targettest.MethodApply, 1, errors.New("port is already allocated"))
		w.want("v2", "a")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if d := w.newest(); d.State != agent.StateHeld {
			t.Errorf("got %s (%s), want held", d.State, d.Reason)
		}
	})
}

func TestUnreachableApplyThenReconnectIsForeign(t *testing.T) {
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

func TestHoldExpiryCallsUnappliedSucceeded(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.engine.Takes(targettest.MethodFetch, time.Second)
		w.want("v2", "a")
		w.until(agent.StateFetching)
		time.Sleep(990 * time.Millisecond)
		w.engine.Fail(targettest.MethodApply, -1, agent.ErrUnreachable)
		w.until(agent.StateApplying)
		w.engine.Disconnect()
		w.until(agent.StateHeld)
		time.Sleep(31 * time.Minute)
		w.engine.Mend(targettest.MethodApply)
		w.engine.Reconnect()
		w.worker.Changed(agent.Change{Service: service, Cause: "rescan"})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if d := w.newest(); d.State == agent.StateSucceeded && d.Serving != agent.ServingNew {
			t.Errorf("got %s although serving %q", d.State, d.Serving)
		}
	})
}

func TestRollbackOrderWhileFetching(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Hang(targettest.MethodFetch, 1)
		w.want("v2", "a")
		w.until(agent.StateFetching)
		r, err := w.order(agent.Order{Verb: agent.VerbRollback})
		t.Logf("%+v %v", r, err)
		if err != nil {
			t.Errorf("got %v, want the open deployment aborted", err)
		}
	})
}

func TestRollbackOrderWhileHeldAfterApplyFailed(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Takes(targettest.MethodApply, 20*time.Second)
		w.want("v2", "a")
		w.until(agent.StateApplying)
		r, err := w.order(agent.Order{Verb: agent.VerbRollback})
		t.Logf("%+v %v", r, err)
		if err != nil {
			t.Errorf("got %v, want the open deployment aborted", err)
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

func TestStormBrakeAfterAnExpiredPause(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		if _, err := w.order(agent.Order{Verb: agent.VerbPause, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		for _, v := range []string{"v2", "v3", "v4"} {
			w.engine.Behave("sha256:"+v, targettest.Dies)
			w.want(v, "a")
			w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		}
		if s := w.worker.Status(); !s.Pause.Active(time.Now()) {
			t.Errorf("got pause %+v, want the brake", s.Pause)
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

func TestDelaySurvivesARestart(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.Delay = 0
		w.good()
		w.die()
		w.svc.Delay = time.Hour
		w.begin()
		w.want("v2", "a")
		time.Sleep(50 * time.Minute)
		w.die()
		w.begin()
		time.Sleep(20 * time.Minute)
		w.runs("v2", "a")
	})
}

func TestForceSurvivesARestart(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.want("v2", "a")
		w.settle()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.killedIn(agent.StateFetching, time.Second, func() {
			synctest.Wait()
			w.order(agent.Order{Verb: agent.VerbDeploy, Force: true})
		})
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func TestRollbackToQuarantined(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "a")
		w.settle()
		w.order(agent.Order{Verb: agent.VerbRollback})
		w.settle()
		w.runs("v1", "a")
		s := w.worker.Status()
		if strings.Contains(s.Plan.Detail, "deployment 0") {
			t.Errorf("got %q", s.Plan.Detail)
		}
		r, err := w.order(agent.Order{Verb: agent.VerbRollback, Release: 2})
		if err != nil {
			t.Fatal(r, err)
		}
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
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

func TestMixedHoldIsNotForeign(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.OnFailure = agent.ActionHold
		w.wantTwo("v1")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.engine.FailHalfway(1, errors.New("boom"))
		w.wantTwo("v2")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if d := w.newest(); d.State != agent.StateHeld {
			t.Errorf("got %s (%s), want held", d.State, d.Reason)
		}
	})
}

func TestHeldRollbackThatFails(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "a")
		w.settle()
		w.order(agent.Order{Verb: agent.VerbRollback})
		w.until(agent.StateVerifying)
		w.engine.Disconnect()
		w.until(agent.StateHeld)
		w.engine.Reconnect()
		time.Sleep(time.Second)
		w.engine.SetHealth(service, agent.HealthUnhealthy, "x")
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

func TestHeldRollbackExpiryRollsBackARollback(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.OnHoldExpiry = agent.HoldExpiryRollback
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "a")
		w.settle()
		w.want("v3", "a")
		w.settle()
		w.order(agent.Order{Verb: agent.VerbRollback}) // to v2
		w.until(agent.StateVerifying)
		w.engine.Disconnect()
		w.until(agent.StateHeld)
		w.engine.Reconnect()
		time.Sleep(time.Hour)
		w.runs("v2", "a")
	})
}

func TestAdoptionHeldExpiryChangesNothing(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.OnHoldExpiry = agent.HoldExpiryRollback
		w.good()
		w.engine.Behave("sha256:v2", targettest.NeverReady)
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v7", Digest: "sha256:v7", Count: 1}}, "theirs")
		for w.newest().Kind != agent.KindAdopt {
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
		}
		w.until(agent.StateVerifying)
		w.engine.Disconnect()
		d := w.until(agent.StateHeld)
		w.engine.Reconnect()
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
		defer cancel()
		_, err := w.worker.Order(ctx, agent.Order{Verb: agent.VerbPause, Actor: "x"})
		if err != nil {
			t.Error(err)
		}
		_ = d
		time.Sleep(time.Hour)
		w.runs("v7", "theirs")
	})
}

func TestRollbackOrderOnHeldAdoption(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.NeverReady)
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v7", Digest: "sha256:v7", Count: 1}}, "theirs")
		for w.newest().Kind != agent.KindAdopt {
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
		}
		w.until(agent.StateVerifying)
		w.engine.Disconnect()
		w.until(agent.StateHeld)
		w.engine.Reconnect()
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
		defer cancel()
		r, err := w.worker.Order(ctx, agent.Order{Verb: agent.VerbRollback, Actor: "x"})
		if err != nil {
			t.Fatal(r, err)
		}
		if err != nil {
			t.Error(err)
		}
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

func TestDriftedServiceKilledInApplying(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v7", Digest: "sha256:v7", Count: 1}}, "theirs")
		time.Sleep(time.Minute)
		w.killedIn(agent.StateApplying, time.Second, func() { w.want("v2", "a") })
		w.settle()
		w.runs("v2", "a")
	})
}

func TestRollbackToSurvivesAKill(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		for _, v := range []string{"v2", "v3"} {
			w.want(v, "a")
			w.settle()
		}
		w.engine.Behave("sha256:v4", targettest.NeverReady)
		w.killedIn(agent.StateRollingBack, time.Second, func() {
			w.want("v4", "a")
			w.until(agent.StateVerifying)
			r, err := w.order(agent.Order{Verb: agent.VerbRollback, Release: 1})
			if err != nil {
				t.Fatal(r, err)
			}
		})
		w.settle()
		w.runs("v1", "a")
	})
}

func TestHumanRollbackKeepsAfterAnEarlierFailure(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.settle()
		w.engine.Fail(targettest.MethodApply, 1, agent.ErrPreflight)
		w.want("v3", "a")
		w.ended(w.settle(), agent.StateFailed, agent.ReasonPreflight)
		w.order(agent.Order{Verb: agent.VerbRollback})
		w.settle()
		time.Sleep(time.Minute)
		w.settle()
		w.runs("v1", "a")
	})
}

func TestHumanRollbackRetriesLikeAnAutomaticOne(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.settle()
		w.engine.FailHalfway(1, errors.New("container name is already in use"))
		w.order(agent.Order{Verb: agent.VerbRollback})
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func TestHungRetainDelaysRecovery(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.die()
		m := &killAt{Recorder: w.store, state: agent.StateRollingBack, dead: make(chan struct{})}
		w.recorder = m
		w.begin()
		w.want("v2", "a")
		<-m.dead
		w.die()
		w.recorder = w.store
		w.engine.Hang(targettest.MethodRetain, 1)
		w.begin()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.runs("v1", "a")
	})
}

func TestSlowLookDelaysTheVerdict(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.until(agent.StateWatching)
		w.engine.Hang(targettest.MethodDesired, 1)
		w.worker.Changed(agent.Change{Service: service, Cause: "registry"})
		time.Sleep(time.Second)
		at := time.Now()
		w.engine.Crash(service, 1)
		w.until(agent.StateRollingBack)
		if took := time.Since(at); took > 5*time.Second {
			t.Errorf("got a rollback %s after the crash", took)
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

func TestHumanRollbackNeverQueues(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.settle()
		w.die()
		w.options = func(o *deploy.Options) { o.Limits = deploy.NewLimits(0, 0) }
		w.begin()
		w.order(agent.Order{Verb: agent.VerbRollback})
		time.Sleep(time.Minute)
		w.runs("v1", "a")
	})
}

func TestBeforeDeployDoesNotBlockARollback(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.BeforeDeploy = []string{"x"}
		fail := false
		w.options = func(o *deploy.Options) {
			o.Before = func(context.Context, agent.Service) error {
				if fail {
					return errors.New("backup failed")
				}
				return nil
			}
		}
		w.good()
		w.want("v2", "a")
		w.settle()
		fail = true
		w.order(agent.Order{Verb: agent.VerbRollback})
		w.settle()
		w.runs("v1", "a")
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

func TestOrderInHandIsAnsweredWhenTheAgentStops(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Hang(targettest.MethodDesired, 1)
		got := make(chan error, 1)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
		defer cancel()
		go func() {
			_, err := w.worker.Order(ctx, agent.Order{Verb: agent.VerbDeploy, Service: service, Actor: "x"})
			got <- err
		}()
		time.Sleep(time.Second)
		w.die()
		time.Sleep(time.Minute)
		select {
		case err := <-got:
			t.Log(err)
		default:
			t.Error("got no answer a minute after the worker ended")
		}
	})
}

func TestRollbackOrderOnAdoptionIsNotAnsweredAway(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Healthy)
		w.good()
		w.want("v2", "a")
		w.settle()
		w.die()
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v3", Digest: "sha256:v3", Count: 1}}, "a")
		w.want("v3", "a")
		w.begin()
		for w.newest().Kind != agent.KindAdopt {
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
		}
		w.until(agent.StateVerifying)
		go func() {
			time.Sleep(time.Second)
			w.worker.Changed(agent.Change{Service: service, Cause: "rescan"})
		}()
		r, err := w.order(agent.Order{Verb: agent.VerbRollback})
		t.Logf("%+v %v", r, err)
		w.settle()
		w.runs("v2", "a")
	})
}

func TestRebootInVerify(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Behaviour{Health: agent.HealthHealthy, HealthAfter: 30 * time.Second, Budget: 60 * time.Second})
		w.die()
		w.begin()
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.die()
		w.engine.Stop(service)
		time.Sleep(5 * time.Minute)
		w.engine.Start(service)
		w.begin()
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

// kills at each record of a human rollback

func TestHumanRollbackKilledAtEveryRecord(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; n <= 10; n++ {
			scene(t, func(w *world) {
				w.good()
				w.want("v2", "a")
				w.settle()
				w.die()
				m := &mortal{Recorder: w.store, left: n + 1, after: after, dead: make(chan struct{})}
				w.recorder = m
				w.begin()
				time.Sleep(time.Second)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
				defer cancel()
				r, err := w.worker.Order(ctx, agent.Order{Verb: agent.VerbRollback, Actor: "x"})
				select {
				case <-m.dead:
				case <-time.After(10 * time.Minute):
				}
				w.die()
				w.recorder = w.store
				w.begin()
				time.Sleep(time.Second)
				d := w.settle()
				q, _ := w.store.Quarantine(service)
				run, _ := w.engine.Running(w.t.Context(), w.svc)
				t.Logf("n=%d after=%t answered=%v err=%v → %d %s %s (%s) runs %s quarantine=%d", n, after, r.Deployment, err, d.ID, d.Kind, d.State, d.Reason, run.Instances[0].Local, len(q))
			})
		}
	}
}

// the critical probes of the old release are evidence about the new one

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

func TestPauseSurvivesARetriedRecord(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.die()
		f := &failOnce{Recorder: w.store}
		w.recorder = f
		w.begin()
		time.Sleep(time.Second)
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		time.Sleep(10*time.Second - 200*time.Millisecond)
		f.fail.Store(true)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		r, err := w.order(agent.Order{Verb: agent.VerbPause})
		if err != nil {
			t.Fatal(r, err)
		}
		w.settle()
		if s := w.worker.Status(); err == nil && !s.Pause.Active(time.Now()) {
			t.Error("got no pause although it was answered")
		}
	})
}

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

func TestDeployOrderWhileHeldAndUnreachable(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.engine.Disconnect()
		w.until(agent.StateHeld)
		w.want("v3", "a")
		time.Sleep(2 * time.Minute)
		w.engine.Reconnect()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.runs("v3", "a")
	})
}

func TestAbortSurvivesAKill(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Takes(targettest.MethodApply, 20*time.Second)
		w.want("v0", "a")
		w.settle()
		w.want("v2", "a")
		w.until(agent.StateApplying)
		r, err := w.order(agent.Order{Verb: agent.VerbRollback})
		if err != nil {
			t.Fatal(r, err)
		}
		w.die()
		w.begin()
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonAborted)
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

func TestAbortInApplyingWithAlert(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.OnFailure = agent.ActionAlert
		w.good()
		w.want("v0", "a")
		w.settle()
		w.engine.Takes(targettest.MethodApply, 20*time.Second)
		w.engine.FailHalfway(1, errors.New("boom"))
		w.want("v2", "a")
		w.until(agent.StateApplying)
		r, err := w.order(agent.Order{Verb: agent.VerbRollback})
		if err != nil {
			t.Fatal(r, err)
		}
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonAborted)
	})
}

func TestResumeDeadlineInVerifyLost(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.killedIn(agent.StateVerifying, 20*time.Minute, func() { w.want("v2", "a"); w.until(agent.StateVerifying) })
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func TestEngineBackLateAfterRestart(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.killedIn(agent.StateRollingBack, time.Second, func() {
			w.want("v2", "a")
			w.until(agent.StateVerifying)
		})
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
	})
}

func TestUnverifiedRollbackLate(t *testing.T) {
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
