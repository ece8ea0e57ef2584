package deploy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target/targettest"
)

// hotfixed brings a first release up, then a human's image in the place of the
// file's.
func (w *world) hotfixed() {
	w.t.Helper()
	w.good()
	w.there("hotfix", targettest.Healthy)
	w.deployImage(map[string]string{"": "app:hotfix"})
	w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
}

// A file that is half-written at one look and whole at the next has not taken a
// human's image back.
func TestOverrideSurvivesAHalfWrittenFile(t *testing.T) {
	for name, err := range map[string]error{
		"half-written": errors.New("yaml: line 3: could not find expected ':'"),
		"unreachable":  agent.ErrUnreachable,
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(w *world) {
				w.hotfixed()
				w.engine.Fail(targettest.MethodDesired, 1, err)
				w.worker.Changed(agent.Change{Service: service, Cause: "files"})
				time.Sleep(5 * time.Minute)
				w.runs("hotfix", "a")
				if got := w.overrides(); got["app"].Ref != "app:hotfix" {
					t.Errorf("got %+v, want the override kept", got)
				}
			})
		})
	}
}

// What the file does not have any more ends its own override and no other.
func TestOverrideEndsWithItsArtifact(t *testing.T) {
	scene(t, func(w *world) {
		w.registry.digests["db:1"], w.registry.digests["db:fix"] = "sha256:db1", "sha256:dbfix"
		w.good()
		w.there("hotfix", targettest.Healthy)
		both := func(db string) {
			w.engine.SetWanted(agent.Wanted{
				Artifacts:  []agent.Artifact{{Name: "app", Ref: "app:v1", Count: 1}, {Name: db, Ref: "db:1", Count: 1}},
				ConfigHash: "a", Files: []string{"/srv/compose.yaml"},
			})
			w.worker.Changed(agent.Change{Service: service, Cause: "files"})
			w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		}
		for _, digest := range []string{"sha256:db1", "sha256:dbfix"} {
			w.engine.Behave(digest, targettest.Healthy)
		}
		both("db")
		w.deployImage(map[string]string{"app": "app:hotfix", "db": "db:fix"})
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		before := w.newest().ID
		both("database")
		got := w.overrides()
		if len(got) != 1 || got["app"].Ref != "app:hotfix" {
			t.Errorf("got %+v, want the one of app kept", got)
		}
		if d := w.newest(); d.ID != before+1 || d.Artifacts[0].Ref != "app:hotfix" {
			t.Errorf("got deployment %d of %+v, want one after %d, with the image that a human wants", d.ID, d.Artifacts, before)
		}
	})
}

// An edit that ends an override and changes more is one deployment, not one with the
// override and one without.
func TestEditThatEndsAnOverrideIsOneDeployment(t *testing.T) {
	scene(t, func(w *world) {
		w.hotfixed()
		before := w.newest().ID
		w.engine.Behave("sha256:v2", targettest.Healthy)
		w.want("v2", "b")
		w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
		w.runs("v2", "b")
		if got := w.newest().ID; got != before+1 {
			t.Errorf("got %d deployments, want 1", got-before)
		}
	})
}

// An order that is recorded and cannot be carried out now says that it is.
func TestOverrideThatWaitsForTheWorld(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.there("hotfix", targettest.Healthy)
		w.engine.Fail(targettest.MethodRunning, 1, agent.ErrUnreachable)
		_, err := w.order(agent.Order{Verb: agent.VerbDeploy, Images: map[string]string{"": "app:hotfix"}})
		if err == nil || !strings.Contains(err.Error(), "the override is recorded") {
			t.Errorf("got %v, want it to say that the override is recorded", err)
		}
		time.Sleep(5 * time.Minute)
		w.runs("hotfix", "a")
	})
}
