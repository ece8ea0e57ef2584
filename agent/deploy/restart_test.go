package deploy_test

import (
	"context"
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

func TestHungRetainDelaysNoRecovery(t *testing.T) {
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

func TestSlowLookDelaysNoVerdict(t *testing.T) {
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

func TestDeadlineThatPassedInVerifyIsNoEvidence(t *testing.T) {
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
