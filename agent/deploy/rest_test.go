package deploy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

var errWritable = errors.New("everybody may write the env file")

// A first release that failed its gate serves, but is no end of a rollback; a human
// who mends what was wrong outside lets it prove itself.
func TestRejectedReleaseMayProveItselfAgain(t *testing.T) {
	scene(t, func(w *world) {
		w.engine.Behave("sha256:v1", targettest.Unhealthy)
		w.want("v1", "a")
		w.begin()
		w.ended(w.settle(), agent.StateFailed, agent.ReasonNoTarget)
		w.engine.SetHealth(service, agent.HealthHealthy, "")
		synctest.Wait()
		receipt, err := w.order(agent.Order{Verb: agent.VerbRetry})
		if err != nil || receipt.Deployment == 0 {
			t.Fatalf("got %+v, %v, want another look", receipt, err)
		}
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
		rel, err := w.store.Release(service, d.To)
		if err != nil || !rel.Restorable() {
			t.Errorf("got %+v, %v, want a release to go back to", rel.Standing, err)
		}
	})
}

// What a human brings up at rest is adopted, even what was rolled back, and the way
// back stays open.
func TestHumanBringsUpWhatWasRolledBack(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Behave("sha256:v2", targettest.Unhealthy)
		w.want("v2", "a")
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonUnhealthy)
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v2", Digest: "sha256:v2", Count: 1}}, "a")
		time.Sleep(10 * time.Second)
		d := w.settle()
		if d.Kind != agent.KindAdopt || d.Serving != agent.ServingNew {
			t.Fatalf("got %s serving %q, want it adopted: the history says what serves", d.Kind, d.Serving)
		}
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
	})
}

func TestForeignChangeAtRestIsAdopted(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.Serve(service, []agent.Artifact{{Name: "app", Ref: "app:v7", Digest: "sha256:v7", Count: 1}}, "theirs")
		time.Sleep(10 * time.Second)
		d := w.settle()
		if d.Kind != agent.KindAdopt || d.Serving != agent.ServingNew {
			t.Fatalf("got %s serving %q, want what is theirs adopted", d.Kind, d.Serving)
		}
		w.runs("v7", "theirs")
		if _, err := w.order(agent.Order{Verb: agent.VerbRollback}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v1", "a")
	})
}

func TestFilesInTheWrongHandsAreNotDeployed(t *testing.T) {
	scene(t, func(w *world) {
		var bad atomic.Bool
		w.options = func(o *deploy.Options) {
			o.Check = func(_ agent.Service, sources []string) error {
				if bad.Load() && slices.Contains(sources, "/srv/.env") {
					return agent.Permanent(errWritable)
				}
				return nil
			}
		}
		w.good()
		bad.Store(true)
		w.want("v2", "a")
		time.Sleep(time.Minute)
		w.runs("v1", "a")
		if s := w.worker.Status(); s.Error != errWritable.Error() {
			t.Errorf("got error %q, want %q", s.Error, errWritable)
		}
	})
}

// Secrets of what is deployed are in no record and no status.
func TestSecretsAreNotRecorded(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.engine.SetWanted(agent.Wanted{
			Artifacts: []agent.Artifact{{Name: "app", Ref: "app:v1", Count: 1}}, ConfigHash: "b", Secrets: []agent.Secret{"hunter2233"},
		})
		w.engine.Fail(targettest.MethodApply, 1, errors.New("bad value hunter2233 in env"))
		w.worker.Changed(agent.Change{Service: service, Cause: "files"})
		d := w.settle()
		w.ended(d, agent.StateRolledBack, agent.ReasonApplyFailed)
		events, err := w.store.Events(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%+v %+v %+v", d, events, w.worker.Status())
		if strings.Contains(text, "hunter2233") || !strings.Contains(text, "bad value •••") {
			t.Errorf("got %s, want the secret hidden", text)
		}
	})
}
