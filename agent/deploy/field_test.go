package deploy_test

import (
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target/targettest"
)

// A slow starter whose HEALTHCHECK may take longer than health_deadline is not
// rolled back before its HEALTHCHECK can prove anything.
func TestField12DeadlineIsDerivedFromTheHealthcheck(t *testing.T) {
	slow := targettest.Behaviour{Health: agent.HealthHealthy, HealthAfter: 150 * time.Second, Budget: 180 * time.Second}
	scene(t, func(w *world) {
		w.svc.HealthDeadline = 30 * time.Second
		w.good()
		w.engine.Behave("sha256:v2", slow)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v2", "a")
	})
	scene(t, func(w *world) { // and one without that budget is
		w.svc.HealthDeadline = 30 * time.Second
		w.good()
		slow.Budget = 0
		w.engine.Behave("sha256:v2", slow)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonHealthDeadline)
	})
}

// Whatever hangs, every deployment ends by a deadline in its record, and the next
// change is deployed.
func TestField20NothingIsStuckForWeeks(t *testing.T) {
	for name, c := range map[string]struct {
		method targettest.Method
		state  agent.State
	}{
		"fetch": {targettest.MethodFetch, agent.StateFailed},
		"apply": {targettest.MethodApply, agent.StateRollbackFailed},
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(w *world) {
				w.good()
				w.engine.Hang(c.method, -1)
				w.want("v2", "a")
				d := w.settle()
				if d.State != c.state {
					t.Fatalf("got %s (%s: %s), want %s", d.State, d.Reason, d.Message, c.state)
				}
				if took := d.EndedAt.Sub(d.StartedAt); took > time.Hour {
					t.Errorf("got %s, want an end within its deadlines", took)
				}
				w.engine.Mend(c.method)
				if _, err := w.order(agent.Order{Verb: agent.VerbResume}); err != nil {
					t.Fatal(err)
				}
				w.want("v3", "a")
				w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
				w.runs("v3", "a")
			})
		})
	}
}

// A rollback is a failure of its deployment, whatever serves now.
func TestField08RollbackIsNoSuccess(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Dies)
		w.want("v2", "a")
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonCrash)
		if !d.Failed() {
			t.Error("got success, want a deployment that was rolled back to have failed")
		}
		events, err := w.store.Events(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		last := events[len(events)-1]
		for _, e := range events {
			if e.Deployment == d.ID && e.To == agent.StateRolledBack {
				last = e
			}
		}
		if last.Severity != agent.SeverityError {
			t.Errorf("got severity %s, want error", last.Severity)
		}
	})
}
