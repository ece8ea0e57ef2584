package deploy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

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

func TestHoldExpiryOfWhatDoesNotServeFails(t *testing.T) {
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

func TestHeldRollbackThatFailsEnds(t *testing.T) {
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

func TestHeldRollbackExpiryRollsNothingBack(t *testing.T) {
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

func TestChangeWhileHeldAndUnreachableDeploysLater(t *testing.T) {
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

// The brake counts anew after a human has looked.
func TestResumeReleasesTheStormBrake(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		for n := range 3 {
			version := "bad" + string(rune('a'+n))
			w.engine.Behave("sha256:"+version, targettest.Crash)
			w.want(version, "a")
			w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		}
		if s := w.worker.Status(); s.Pause == nil || s.Pause.Reason != agent.ReasonStorm {
			t.Fatalf("got %+v, want the brake", s.Pause)
		}
		if _, err := w.order(agent.Order{Verb: agent.VerbResume}); err != nil {
			t.Fatal(err)
		}
		w.engine.Behave("sha256:badx", targettest.Crash)
		w.want("badx", "a")
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		if s := w.worker.Status(); s.Pause != nil {
			t.Errorf("got %+v, want no brake after one more", s.Pause)
		}
	})
}

func TestPauseThatIsOverIsNotShown(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		if _, err := w.order(agent.Order{Verb: agent.VerbPause, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		w.worker.Changed(agent.Change{Cause: "rescan"})
		synctest.Wait()
		if s := w.worker.Status(); s.Pause != nil {
			t.Errorf("got %+v, want none", s.Pause)
		}
	})
}

// A release whose snapshot is no longer kept is restored from its newest twin.
func TestRollbackToAReleaseThatWasMadeAgain(t *testing.T) {
	scene(t, func(w *world) {
		w.options = func(o *deploy.Options) { o.KeepHistory = 100 }
		w.good()
		for n := range 2 { // r1 serves again as r3, and as r5
			version := "bad" + string(rune('a'+n))
			w.engine.Behave("sha256:"+version, targettest.Crash)
			w.want(version, "a")
			w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		}
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback, Release: 3}); err != nil {
			t.Fatalf("got %v, want r3 restored: it is what r5 is", err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
	})
}
