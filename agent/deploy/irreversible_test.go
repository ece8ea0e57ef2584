package deploy_test

import (
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target/targettest"
)

// What cannot be undone is not undone by the failure of what comes after it.
func TestField24NothingGoesBackBehindAnIrreversibleRelease(t *testing.T) {
	for name, expiry := range map[string]agent.HoldExpiry{"rolled back": agent.HoldExpiryRollback, "kept": agent.HoldExpiryKeep} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(w *world) {
				w.svc.OnHoldExpiry = expiry
				w.good()
				w.there("v2", targettest.Healthy)
				if _, err := w.order(agent.Order{Verb: agent.VerbDeploy, Irreversible: true, Images: map[string]string{"": "app:v2"}}); err != nil {
					t.Fatal(err)
				}
				w.until(agent.StateWatching) // it serves, and is not stable yet
				w.there("v3", targettest.Crash)
				w.deployImage(map[string]string{"": "app:v3"})
				if d := w.until(agent.StateHeld); d.Reason != agent.ReasonIrreversible {
					t.Errorf("got held for %s, want irreversible", d.Reason)
				}
				time.Sleep(time.Hour)
				for _, d := range w.all() {
					if d.Restored != 0 {
						t.Errorf("got deployment %d rolled back behind what cannot be undone: %+v", d.ID, d.Timeline)
					}
				}
			})
		})
	}
}

// A human may go back behind it, and from then on that is where the agent goes back to.
func TestHumanGoesBackBehindAnIrreversibleRelease(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.there("v2", targettest.Healthy)
		if _, err := w.order(agent.Order{Verb: agent.VerbDeploy, Irreversible: true, Images: map[string]string{"": "app:v2"}}); err != nil {
			t.Fatal(err)
		}
		w.until(agent.StateWatching)
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonAborted)
		w.there("v3", targettest.Crash)
		w.deployImage(map[string]string{"": "app:v3"})
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a")
	})
}

func (w *world) all() []agent.Deployment {
	w.t.Helper()
	all, err := w.store.Deployments(agent.HistoryFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
