package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/history"
	"rollback-agent/agent/target/targettest"
)

const service = "web"

// world is one host: a fake engine, a real store, and an agent that can die.
type world struct {
	t        *testing.T
	engine   *targettest.Fake
	store    *history.Store
	recorder deploy.Recorder
	registry *registry
	svc      agent.Service
	probe    deploy.Probe
	options  func(*deploy.Options)

	worker *deploy.Worker
	stop   func()
}

// registry answers from a map; an error answers for everything.
type registry struct {
	mu      sync.Mutex
	digests map[string]string
	err     error
}

func (r *registry) Resolve(_ context.Context, ref string, _ time.Time) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return "", r.err
	}
	if digest, ok := r.digests[ref]; ok {
		return digest, nil
	}
	return "", agent.Permanent(fmt.Errorf("%s: manifest unknown", ref))
}

// scene runs do on a host of its own, in virtual time.
func scene(t *testing.T, do func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, err := history.Open(filepath.Join(t.TempDir(), "history.db"), history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		w := &world{t: t, engine: targettest.NewFake(), store: store, recorder: store, registry: &registry{digests: map[string]string{}}, svc: defaults()}
		defer w.die()
		do(w)
	})
}

func defaults() agent.Service {
	return agent.Service{
		Name: service, Target: "fake",
		MinHealthyTime: 10 * time.Second, HealthDeadline: 2 * time.Minute, ProgressDeadline: 10 * time.Minute,
		FetchDeadline: 30 * time.Minute, RollbackDeadline: 2 * time.Minute, WatchFor: time.Minute, MaxRestarts: 2,
		OnFailure: agent.ActionRollback, HoldFor: 30 * time.Minute, OnHoldExpiry: agent.HoldExpiryKeep,
		Mode: agent.ModeAuto, KeepReleases: 3,
	}
}

// want edits the files: one compose service that runs an image with a config.
func (w *world) want(version, config string) {
	ref, digest := "app:"+version, "sha256:"+version
	w.registry.mu.Lock()
	w.registry.digests[ref] = digest
	w.registry.mu.Unlock()
	w.engine.SetWanted(agent.Wanted{
		Artifacts:  []agent.Artifact{{Name: "app", Ref: ref, Count: 1}},
		ConfigHash: config, Files: []string{"/srv/compose.yaml"}, Sources: []string{"/srv/.env"}, Model: "image: " + ref + "\nconfig: " + config + "\n",
	})
	if w.worker != nil {
		w.worker.Changed(agent.Change{Service: service, Cause: "files"})
	}
}

// begin starts the agent, anew where it died.
func (w *world) begin() {
	w.t.Helper()
	options := deploy.Options{
		Target: w.engine, Resolver: w.registry, Recorder: w.recorder, Probe: w.probe,
		Limits: deploy.NewLimits(2, 2), Log: slog.New(slog.DiscardHandler),
	}
	if w.options != nil {
		w.options(&options)
	}
	w.worker = deploy.New(w.svc, options)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.worker.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("worker ended with %v, want it to end with its context", err)
		}
	}
}

func (w *world) die() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// settle lets virtual time go by until the newest deployment has ended.
func (w *world) settle() agent.Deployment {
	w.t.Helper()
	for range 2000 {
		synctest.Wait()
		if d := w.newest(); d.ID != 0 && d.State.Ended() {
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if again := w.newest(); again.ID == d.ID {
				return again
			}
			continue
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("deployment did not end: %+v", w.newest())
	return agent.Deployment{}
}

// until lets time go by until the newest deployment is in the state.
func (w *world) until(state agent.State) agent.Deployment {
	w.t.Helper()
	for range 20000 {
		synctest.Wait()
		if d := w.newest(); d.State == state {
			return d
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("got %s, want %s", w.newest().State, state)
	return agent.Deployment{}
}

func (w *world) newest() agent.Deployment {
	w.t.Helper()
	all, err := w.store.Deployments(agent.HistoryFilter{Limit: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(all) == 0 {
		return agent.Deployment{}
	}
	return all[0]
}

func (w *world) order(order agent.Order) (agent.Receipt, error) {
	order.Service, order.Actor = service, "uid 0 (root)"
	return w.worker.Order(w.t.Context(), order)
}

// runs fails the test unless exactly this version and config serve.
func (w *world) runs(version, config string) {
	w.t.Helper()
	running, err := w.engine.Running(w.t.Context(), agent.Service{Name: service})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(running.Instances) != 1 {
		w.t.Fatalf("got %d instances, want 1: %+v", len(running.Instances), running.Instances)
	}
	i := running.Instances[0]
	wanted, err := w.engineConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	if i.Local != "image:sha256:"+version || i.Config != wanted || i.Phase != agent.PhaseRunning {
		w.t.Errorf("got %s %s %s, want %s with config %s running", i.Local, i.Config, i.Phase, version, wanted)
	}
}

// engineConfig is the hash that instances of a config show.
func (w *world) engineConfig(config string) (string, error) {
	probe := targettest.NewFake()
	probe.SetWanted(agent.Wanted{Artifacts: []agent.Artifact{{Name: "app"}}, ConfigHash: config})
	wanted, err := probe.Desired(w.t.Context(), w.svc)
	if err != nil {
		return "", err
	}
	return wanted.Artifacts[0].Config, nil
}

// good brings a first good release up and returns when it is stable.
func (w *world) good() {
	w.t.Helper()
	w.engine.Behave("sha256:v1", targettest.Healthy)
	w.want("v1", "a")
	w.begin()
	w.ended(w.settle(), agent.StateSucceeded, agent.ReasonHealthy)
	w.runs("v1", "a")
}

func (w *world) ended(d agent.Deployment, state agent.State, reason agent.Reason) {
	w.t.Helper()
	if d.State != state || d.Reason != reason {
		w.t.Fatalf("got deployment %d %s (%s: %s), want %s (%s)\n%+v", d.ID, d.State, d.Reason, d.Message, state, reason, d.Timeline)
	}
}
