package deploy_test

import (
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target/targettest"
)

// there makes an image that the registry knows and that behaves so.
func (w *world) there(version string, b targettest.Behaviour) {
	w.registry.mu.Lock()
	w.registry.digests["app:"+version] = "sha256:" + version
	w.registry.mu.Unlock()
	w.engine.Behave("sha256:"+version, b)
}

func (w *world) deployImage(images map[string]string) {
	w.t.Helper()
	if _, err := w.order(agent.Order{Verb: agent.VerbDeploy, Images: images}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) overrides() map[string]agent.Override {
	w.t.Helper()
	record, err := w.store.Service(service)
	if err != nil {
		w.t.Fatal(err)
	}
	return record.Overrides
}

func TestOverrideIsWantedUntilTheFileNamesAnother(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.there("hotfix", targettest.Healthy)
		w.deployImage(map[string]string{"": "app:hotfix"})
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("hotfix", "a")

		w.want("v1", "b") // an edit of something else
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("hotfix", "b")
		if o := w.worker.Status().Overrides["app"]; o.Ref != "app:hotfix" || o.FileRef != "app:v1" || !strings.Contains(o.By, "root") {
			t.Errorf("got %+v, want the override in the status", o)
		}

		w.die() // it is remembered
		w.begin()
		w.worker.Changed(agent.Change{Cause: "rescan"})
		time.Sleep(time.Minute)
		w.runs("hotfix", "b")

		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "b")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v2", "b")
		if got := w.overrides(); len(got) != 0 {
			t.Errorf("got %+v, want the override gone", got)
		}
	})
}

func TestNoOverrideGivesTheFileItsWordBack(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.there("hotfix", targettest.Healthy)
		w.deployImage(map[string]string{"app": "app:hotfix"})
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		if _, err := w.order(agent.Order{Verb: agent.VerbDeploy, NoOverride: true}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
	})
}

func TestBadOverrideIsRolledBackAndShown(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.there("bad", targettest.Crash)
		w.deployImage(map[string]string{"": "app:bad"})
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a")
		if s := w.worker.Status(); s.Plan.Reason != agent.ReasonQuarantined || s.Overrides["app"].Ref != "app:bad" {
			t.Errorf("got %+v, want it quarantined and still overridden", s)
		}
	})
}

func TestOverrideInTheMiddleOfADeployment(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.there("hotfix", targettest.Healthy)
		w.want("v2", "a")
		w.until(agent.StateWatching)
		w.deployImage(map[string]string{"": "app:hotfix"})
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("hotfix", "a")
	})
}

func TestOverrideThatCannotBe(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		for name, want := range map[string]string{"web": `no "web"`, "app": "read"} {
			ref := "app:v1"
			if name == "app" {
				ref = "not a reference"
			}
			_, err := w.order(agent.Order{Verb: agent.VerbDeploy, Images: map[string]string{name: ref}})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s=%s: got %v, want …%s…", name, ref, err, want)
			}
		}
		if got := w.overrides(); len(got) != 0 {
			t.Errorf("got %+v, want none", got)
		}
	})
}

func TestIrreversibleIsHeldAndNeverRolledBackByItself(t *testing.T) {
	for name, order := range map[string]agent.Order{
		"order": {Verb: agent.VerbDeploy, Irreversible: true},
		"label": {},
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(w *world) {
				w.svc.OnHoldExpiry = agent.HoldExpiryRollback
				w.good()
				w.there("v2", targettest.Crash)
				if order.Verb == "" {
					once := targettest.Crash
					once.Irreversible = true
					w.there("v2", once)
					w.want("v2", "a")
				} else {
					order.Images = map[string]string{"": "app:v2"}
					if _, err := w.order(order); err != nil {
						t.Fatal(err)
					}
				}
				d := w.until(agent.StateHeld)
				if d.Reason != agent.ReasonIrreversible || !d.Irreversible {
					t.Errorf("got held for %s, want irreversible", d.Reason)
				}
				time.Sleep(time.Hour) // beyond hold_for
				if d := w.newest(); d.State == agent.StateRolledBack || d.State == agent.StateRollingBack {
					t.Errorf("got %s, want no rollback by itself", d.State)
				}
			})
		})
	}
}

func TestHumanRollsAnIrreversibleBack(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.there("v2", targettest.Crash)
		if _, err := w.order(agent.Order{Verb: agent.VerbDeploy, Irreversible: true, Images: map[string]string{"": "app:v2"}}); err != nil {
			t.Fatal(err)
		}
		w.until(agent.StateHeld)
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonAborted)
		w.runs("v1", "a")
	})
}

func TestOverrideThatNobodyKnowsIsNotRecorded(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		_, err := w.order(agent.Order{Verb: agent.VerbDeploy, Images: map[string]string{"": "app:typo"}})
		if err == nil || !strings.Contains(err.Error(), "manifest unknown") {
			t.Errorf("got %v, want it refused", err)
		}
		if got := w.overrides(); len(got) != 0 {
			t.Errorf("got %+v, want none", got)
		}
	})
}
