package deploy_test

import (
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/target/targettest"
)

// A registry has often moved on since the containers were brought up. What runs is
// the files' model all the same, and what a rollback goes back to.
func TestAdoptedWithAnOlderImageIsRestorable(t *testing.T) {
	scene(t, func(w *world) {
		w.good()
		w.die()
		if err := w.store.DeleteService(service); err != nil { // a host that the agent comes to
			t.Fatal(err)
		}
		w.push("app:v1", "sha256:newer", targettest.Healthy)
		w.begin()
		d := w.settle()
		w.ended(d, agent.StateSucceeded, agent.ReasonHealthy)
		rel, err := w.store.Release(service, d.To)
		if err != nil || d.Kind != agent.KindAdopt || rel.Partial || !rel.Restorable() || rel.Artifacts[0].Digest != "sha256:v1" {
			t.Fatalf("got %+v of %s, %v, want what runs, restorable", rel, d.Kind, err)
		}
		if s := w.worker.Status(); s.Plan.Reason != agent.ReasonDrift {
			t.Errorf("got %+v, want it to say that the files describe something else", s.Plan)
		}
		w.runs("v1", "a") // nothing is touched

		w.push("app:v1", "sha256:bad", targettest.Crash)
		w.worker.Changed(agent.Change{Cause: "registry"})
		w.ended(w.settle(), agent.StateRolledBack, agent.ReasonCrash)
		w.runs("v1", "a")
	})
}

// push moves a tag in the registry.
func (w *world) push(ref, digest string, b targettest.Behaviour) {
	w.engine.Behave(digest, b)
	w.registry.mu.Lock()
	defer w.registry.mu.Unlock()
	w.registry.digests[ref] = digest
}
