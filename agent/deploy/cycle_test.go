package deploy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

func TestFirstDeploymentBecomesStable(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		d := w.newest()
		if d.Kind != agent.KindDeploy || d.Serving != agent.ServingNew || d.To != 1 || d.From != 0 {
			t.Errorf("got kind %s serving %s r%d from r%d, want deploy new r1 from r0", d.Kind, d.Serving, d.To, d.From)
		}
		rel, err := w.store.Release(service, 1)
		if err != nil || rel.Standing != agent.StandingStable {
			t.Errorf("got %s, %v, want stable", rel.Standing, err)
		}
		if took := d.EndedAt.Sub(d.StartedAt); took < 70*time.Second || took > 75*time.Second {
			t.Errorf("got %s, want min_healthy_time + watch_for", took)
		}
	})
}

// What goes wrong after Apply puts the old release back, in the same deployment.
func TestBadReleaseIsRolledBack(t *testing.T) {
	for name, bad := range map[string]struct {
		behaviour targettest.Behaviour
		reason    agent.Reason
		within    time.Duration
	}{
		"crash":       {targettest.Crash, agent.ReasonCrash, 15 * time.Second},
		"dies":        {targettest.Dies, agent.ReasonCrash, 15 * time.Second},
		"oom":         {targettest.OOM, agent.ReasonOOM, 15 * time.Second},
		"unhealthy":   {targettest.Unhealthy, agent.ReasonUnhealthy, 15 * time.Second},
		"never ready": {targettest.NeverReady, agent.ReasonHealthDeadline, 2*time.Minute + 15*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(w *world) {
				w.good()
				w.engine.Behave("sha256:v2", bad.behaviour)
				w.want("v2", "a")
				d := w.settle()
				w.ended(d, agent.StateRolledBack, bad.reason)
				w.runs("v1", "a")
				if d.Serving != agent.ServingOld || d.To != 2 || d.Restored != 3 {
					t.Errorf("got serving %s, r%d, restored r%d, want old, r2, r3", d.Serving, d.To, d.Restored)
				}
				if took := d.EndedAt.Sub(d.StartedAt); took > bad.within {
					t.Errorf("got %s, want at most %s", took, bad.within)
				}
				if len(d.Diagnoses) == 0 || len(d.Verdicts) == 0 {
					t.Errorf("got %d diagnoses and %d verdicts, want some of each", len(d.Diagnoses), len(d.Verdicts))
				}
			})
		})
	}
}

// A bad digest is deployed once, not again at every look or restart.
func TestField06BadDigestStaysInQuarantine(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Crash)
		w.want("v2", "a")
		first := w.settle()
		for range 3 {
			w.worker.Changed(agent.Change{Service: service, Cause: "rescan"})
			time.Sleep(time.Minute)
		}
		w.die()
		w.begin()
		time.Sleep(time.Hour)
		if d := w.newest(); d.ID != first.ID {
			t.Fatalf("got deployment %d, want none after %d", d.ID, first.ID)
		}
		if s := w.worker.Status(); s.Plan.Reason != agent.ReasonQuarantined {
			t.Errorf("got reason %q, want quarantined", s.Plan.Reason)
		}
		receipt, err := w.order(agent.Order{Verb: agent.VerbDeploy})
		if err != nil || receipt.Deployment != 0 || receipt.Plan.Reason != agent.ReasonQuarantined {
			t.Errorf("got %+v, %v, want a refusal that names the quarantine", receipt, err)
		}
		w.engine.Behave("sha256:v2", targettest.Healthy)
		if _, err := w.order(agent.Order{Verb: agent.VerbRetry}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v2", "a")
	})
}

func TestEditIsRolledBackAndAnotherEditDeploys(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("b", targettest.Dies)
		w.want("v1", "b")
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a")
		w.want("v1", "c")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "c")
		w.want("v1", "a") // back to what served before: nothing bad about it
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
	})
}

func TestField01FailingUpRollsBack(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.FailHalfway(1, errors.New("port is already allocated"))
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonApplyFailed)
		w.runs("v1", "a")
	})
}

func TestField27FailureIsRecordedWithItsOutcome(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Fail(targettest.MethodApply, 1, errors.New("no space left"))
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonApplyFailed)
		words := slices.ContainsFunc(d.Timeline, func(s agent.Step) bool {
			return s.State == agent.StateRollingBack && strings.Contains(s.Detail, "no space left")
		})
		if !words {
			t.Errorf("got timeline %+v, want the engine's words in it", d.Timeline)
		}
	})
}

func TestField05MissingSourceTearsNothingDown(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.NeverReady)
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.engine.Forget("sha256:v1")
		w.engine.Withdraw("sha256:v1")
		d := w.settle()
		w.ended(d, agent.StateFailed, agent.ReasonSourceMissing)
		w.runs("v2", "a")
		if d.Serving != agent.ServingNew {
			t.Errorf("got serving %q, want new", d.Serving)
		}
	})
}

func TestPreflightTouchesNothing(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Fail(targettest.MethodApply, 1, agent.WithHint(agent.ErrPreflight, "do it by hand"))
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateFailed, agent.ReasonPreflight)
		w.runs("v1", "a")
		if d.Hint != "do it by hand" || d.Serving != agent.ServingOld {
			t.Errorf("got hint %q, serving %q, want the target's hint and old", d.Hint, d.Serving)
		}
	})
}

func TestNoStableReleaseLeavesWhatServes(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Unhealthy)
		w.want("v1", "a")
		w.begin()
		d := w.settle()
		w.ended(d, agent.StateFailed, agent.ReasonNoTarget)
		if d.Serving != agent.ServingNew {
			t.Errorf("got serving %q, want new", d.Serving)
		}
		w.want("v2", "a") // the mended image deploys by itself
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
	})
}

func TestNewAndOldBothFail(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v1", targettest.Unhealthy)
		w.engine.Behave("sha256:v2", targettest.Unhealthy)
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateRollbackFailed, agent.ReasonRollbackFailed)
		if s := w.worker.Status(); !s.Pause.Active(time.Now()) {
			t.Error("got no pause, want automation paused after a failed rollback")
		}
		applies := w.engine.Calls(targettest.MethodApply)
		time.Sleep(time.Hour)
		if got := w.engine.Calls(targettest.MethodApply); got != applies {
			t.Errorf("got %d more applies, want none: a rollback is never rolled back", got-applies)
		}
		w.engine.SetHealth(service, agent.HealthHealthy, "")
		time.Sleep(time.Minute)
		if !w.told(agent.EventRecovered) {
			t.Error("got no event, want recovered")
		}
	})
}

func (w *world) told(kind agent.EventKind) bool {
	synctest.Wait()
	events, err := w.store.Events(0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

func TestField11FlapStartsHealthAnew(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.CrashOnce)
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
		if d.Counters.Exits == nil {
			t.Error("got no exits counted, want the one that was forgiven")
		}
	})
}

func TestNoHealthSignalIsUnverified(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Bare)
		w.want("v1", "a")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonUnverified)
		rel, err := w.store.Release(service, 1)
		if err != nil || rel.Standing != agent.StandingUnverified || !rel.Restorable() {
			t.Errorf("got %s, %v, want unverified and restorable", rel.Standing, err)
		}
	})
}

func TestImageThatDoesNotExist(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.SetWanted(agent.Wanted{Artifacts: []agent.Artifact{{Name: "app", Ref: "app:v9", Count: 1}}, ConfigHash: "a"})
		w.worker.Changed(agent.Change{Service: service, Cause: "files"})
		d := w.settle()
		w.ended(d, agent.StateFailed, agent.ReasonUnresolvable)
		w.runs("v1", "a")
		if !strings.Contains(d.Message, "manifest unknown") || d.Serving != agent.ServingOld {
			t.Errorf("got %q, serving %q, want the registry's words and old", d.Message, d.Serving)
		}
		w.worker.Changed(agent.Change{Service: service, Cause: "rescan"})
		time.Sleep(time.Hour)
		if again := w.newest(); again.ID != d.ID {
			t.Errorf("got deployment %d, want no second attempt by itself", again.ID)
		}
	})
}

func TestRegistryDownUsesWhatIsHere(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.SetLocal("app:v1", "sha256:v1")
		w.registry.mu.Lock()
		w.registry.err = agent.ErrUnreachable
		w.registry.mu.Unlock()
		w.want("v1", "b")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "b")
	})
}

func TestHalfWrittenFileIsWaitedOut(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.BreakWanted(service, errors.New("yaml: line 3"))
		w.worker.Changed(agent.Change{Service: service, Cause: "files"})
		time.Sleep(time.Second)
		if w.told(agent.EventInvalid) {
			t.Error("got an alert after a second, want the file waited out")
		}
		w.engine.SetWantedOf(service, agent.Wanted{Artifacts: []agent.Artifact{{Name: "app", Ref: "app:v1", Count: 1}}, ConfigHash: "b"})
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "b")
	})
}

func TestInvalidFileIsToldOnce(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.BreakWanted(service, errors.New("yaml: line 3"))
		for range 5 {
			w.worker.Changed(agent.Change{Service: service, Cause: "rescan"})
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		events, _ := w.store.Events(0, 0)
		told := 0
		for _, e := range events {
			if e.Kind == agent.EventInvalid {
				told++
			}
		}
		if told != 1 {
			t.Errorf("got %d alerts, want 1", told)
		}
		w.runs("v1", "a")
		if s := w.worker.Status(); !strings.Contains(s.Error, "yaml: line 3") {
			t.Errorf("got error %q, want the file's fault", s.Error)
		}
	})
}

func TestAdoptionChangesNothing(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Healthy)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v1", Digest: "sha256:v1", Count: 1}}, "a")
		w.want("v1", "a")
		w.begin()
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
		if d.Kind != agent.KindAdopt || w.engine.Calls(targettest.MethodApply) != 0 {
			t.Errorf("got %s and %d applies, want adopt and none", d.Kind, w.engine.Calls(targettest.MethodApply))
		}
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a")
	})
}

func TestDriftIsLeftAloneUntilAsked(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Healthy)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v1", Digest: "sha256:v1", Count: 1}}, "old config")
		w.want("v1", "a")
		w.begin()
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "old config")
		if s := w.worker.Status(); s.Plan.Reason != agent.ReasonDrift {
			t.Errorf("got reason %q, want drift", s.Plan.Reason)
		}
		receipt, err := w.order(agent.Order{Verb: agent.VerbDeploy})
		if err != nil || receipt.Deployment == 0 {
			t.Fatalf("got %+v, %v, want a deployment", receipt, err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
	})
}

func TestStoppedByHumanStaysStopped(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Stop(service)
		time.Sleep(time.Minute)
		w.want("v2", "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := w.newest(); d.ID != 1 {
			t.Errorf("got deployment %d, want none: a human stopped it", d.ID)
		}
		if s := w.worker.Status(); s.Plan.Reason != agent.ReasonIdle {
			t.Errorf("got reason %q, want idle", s.Plan.Reason)
		}
	})
}

func TestNewerSupersedesAWatchAtOnce(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.engine.Behave("sha256:v3", targettest.Dies)
		w.want("v2", "a")
		w.until(agent.StateWatching)
		w.want("v3", "a")
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a") // v2 never ended its watch
		before, _ := w.store.Deployment(d.ID - 1)
		w.ended(before, agent.StateSuperseded, agent.ReasonNewer)
	})
}

func TestHumanAbortsAnOpenDeployment(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.NeverReady)
		w.want("v2", "a")
		open := w.until(agent.StateVerifying)
		receipt, err := w.order(agent.Order{Verb: agent.VerbRollback})
		if err != nil || receipt.Deployment != open.ID {
			t.Fatalf("got %+v, %v, want the open deployment", receipt, err)
		}
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonAborted)
		w.runs("v1", "a")
	})
}

func TestHumanRollback(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback}); err != nil {
			t.Fatal(err)
		}
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
		rel, _ := w.store.Release(service, d.To)
		if d.Kind != agent.KindRollback || rel.Restores != 1 || d.To != 3 {
			t.Errorf("got %s r%d restoring r%d, want rollback r3 restoring r1", d.Kind, d.To, rel.Restores)
		}
		time.Sleep(time.Hour)
		w.worker.Changed(agent.Change{Service: service, Cause: "rescan"})
		time.Sleep(time.Minute)
		w.runs("v1", "a") // the file still says v2; a human has left it
		_, err := w.order(agent.Order{Verb: agent.VerbRollback, Release: 99})
		if err == nil || !strings.Contains(err.Error(), "no release r99") {
			t.Errorf("got %v, want a clear refusal", err)
		}
	})
}

func TestCancelWhileFetching(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Hang(targettest.MethodFetch, 1)
		w.want("v2", "a")
		open := w.until(agent.StateFetching)
		if _, err := w.order(agent.Order{Verb: agent.VerbCancel, Deployment: open.ID}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateCancelled, agent.ReasonCancelled)
		w.runs("v1", "a")
	})
}

func TestField39HungCallsMeetTheirDeadline(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Hang(targettest.MethodFetch, -1)
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateFailed, agent.ReasonFetchDeadline)
		if took := d.EndedAt.Sub(d.StartedAt); took < 30*time.Minute || took > 31*time.Minute {
			t.Errorf("got %s, want fetch_deadline", took)
		}
	})
}

func TestEngineLostIsNeverEvidence(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.engine.Disconnect()
		d := w.until(agent.StateHeld)
		if d.Reason != agent.ReasonUnreachable {
			t.Errorf("got %s, want unreachable", d.Reason)
		}
		w.engine.Reconnect()
		if _, err := w.order(agent.Order{Verb: agent.VerbKeep, Deployment: d.ID}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonKept)
		w.runs("v2", "a")
	})
}

func TestForeignChangeEndsTheDeployment(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.NeverReady)
		w.want("v2", "a")
		w.until(agent.StateVerifying)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v7", Digest: "sha256:v7", Count: 1}}, "theirs")
		d := w.settle()
		if d.Kind != agent.KindAdopt || d.Serving != agent.ServingNew {
			t.Errorf("got %s serving %q, want what is theirs adopted", d.Kind, d.Serving)
		}
		before, _ := w.store.Deployment(d.ID - 1)
		w.ended(before, agent.StateSuperseded, agent.ReasonForeign)
		w.runs("v7", "theirs")
	})
}

func TestStormBrake(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		for _, v := range []string{"v2", "v3", "v4"} {
			w.engine.Behave("sha256:"+v, targettest.Dies)
			w.want(v, "a")
			w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		}
		last := w.newest()
		w.want("v5", "a")
		time.Sleep(time.Hour)
		if d := w.newest(); d.ID != last.ID {
			t.Errorf("got deployment %d, want the brake", d.ID)
		}
		if s := w.worker.Status(); s.Plan.Reason != agent.ReasonPaused {
			t.Errorf("got reason %q, want paused", s.Plan.Reason)
		}
	})
}

func TestOnFailureHoldAsksAHuman(t *testing.T) {
	scene(t, func(w *world) {
		w.svc.OnFailure = agent.ActionHold
		w.good()
		w.engine.Behave("sha256:v2", targettest.Unhealthy)
		w.want("v2", "a")
		w.until(agent.StateHeld)
		w.runs("v2", "a")
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonAborted)
		w.runs("v1", "a")
	})
}

func TestPauseHoldsBackAutomation(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		if _, err := w.order(agent.Order{Verb: agent.VerbPause, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		w.want("v2", "a")
		time.Sleep(30 * time.Minute)
		w.runs("v1", "a")
		time.Sleep(time.Hour)
		w.settle()
		w.runs("v2", "a") // the pause has run out
	})
}

func TestDisabledRollbackLeavesTheBadRelease(t *testing.T) {
	scene(t, func(w *world) {
		w.options = func(o *deploy.Options) { o.DisableRollback = true }
		w.good()
		w.engine.Behave("sha256:v2", targettest.Unhealthy)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateFailed, agent.ReasonRollbackDisabled)
		w.runs("v2", "a")
	})
}
