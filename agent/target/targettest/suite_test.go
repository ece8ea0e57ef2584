package targettest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target"
	"rollback-agent/agent/target/targettest"
)

// harness drives a fake, or a fake that is broken on purpose.
type harness struct {
	fake     *targettest.Fake
	target   target.Target
	service  agent.Service
	patience time.Duration
	tagged   string // digest that the source has under the one reference
}

func newHarness(testing.TB) targettest.Harness {
	f := targettest.NewFake()
	return &harness{fake: f, target: f, service: agent.Service{Name: "web"}, patience: 5 * time.Second}
}

func (h *harness) Target() target.Target  { return h.target }
func (h *harness) Service() agent.Service { return h.service }

func (h *harness) Want(_ testing.TB, v targettest.Version) {
	h.tagged = "sha256:" + v.Content
	fate := map[targettest.Fate]targettest.Behaviour{
		targettest.Crashing: targettest.Crash, targettest.Sick: targettest.Unhealthy,
	}[v.Fate]
	h.fake.Behave(h.tagged, fate)
	h.fake.SetWanted(agent.Wanted{
		Artifacts:  []agent.Artifact{{Name: "web", Ref: "app:stable", Count: 2}},
		ConfigHash: "config-" + v.Config, Model: "image: app:stable\nconfig: " + v.Config + "\n",
		Files: []string{"/srv/compose.yaml"},
	})
}

func (h *harness) Break(testing.TB)                              { h.fake.BreakWanted("", errors.New("line 3: no YAML")) }
func (h *harness) Resolve(_ testing.TB, _ agent.Artifact) string { return h.tagged }
func (h *harness) Withdraw(testing.TB)                           { h.fake.Withdraw("sha256:one", "sha256:two", "sha256:bad") }
func (h *harness) Forget(_ testing.TB, a agent.Artifact)         { h.fake.Forget(a.Digest) }
func (h *harness) Here(_ testing.TB, a agent.Artifact) bool      { return h.fake.Here(a.Digest) }
func (h *harness) Stop(testing.TB)                               { h.fake.Stop("web") }
func (h *harness) Patience() time.Duration                       { return h.patience }

func TestFakeKeepsTheContract(t *testing.T) { targettest.Run(t, newHarness) }

// recorder is a test that notes its failure instead of having it.
type recorder struct {
	testing.TB
	ctx      context.Context
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Helper()                        {}
func (r *recorder) Context() context.Context       { return r.ctx }
func (r *recorder) Cleanup(do func())              { r.cleanups = append(r.cleanups, do) }
func (r *recorder) Error(args ...any)              { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, a ...any) { r.note(fmt.Sprintf(format, a...)) }
func (r *recorder) Fatal(args ...any)              { r.note(fmt.Sprint(args...)); runtime.Goexit() }

func (r *recorder) Fatalf(format string, a ...any) {
	r.note(fmt.Sprintf(format, a...))
	runtime.Goexit()
}

// run plays one check of the suite and returns what it complained about.
func (r *recorder) run(check targettest.Check, h targettest.Harness) []string {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			for i := len(r.cleanups) - 1; i >= 0; i-- {
				r.cleanups[i]()
			}
		}()
		check.Run(r, h)
	})
	wg.Wait()
	return r.failures
}

// The seeded faults. Each is one that a real updater had.

// restarter recreates what runs already at every Apply.
type restarter struct{ *targettest.Fake }

func (b restarter) Apply(ctx context.Context, svc agent.Service, rel agent.Release, share int) error {
	if err := b.Fake.Apply(ctx, svc, rel, share); err != nil {
		return err
	}
	b.Stop(svc.Name)
	b.Start(svc.Name)
	return nil
}

// eager makes things serve in Fetch already.
type eager struct{ *targettest.Fake }

func (b eager) Fetch(ctx context.Context, svc agent.Service, rel agent.Release, progress func(agent.Progress)) (agent.Release, error) {
	rel, err := b.Fake.Fetch(ctx, svc, rel, progress)
	if err != nil {
		return rel, err
	}
	return rel, b.Apply(ctx, svc, rel, 100)
}

// reaper deletes releases that are kept, as soon as they do not serve.
type reaper struct{ *targettest.Fake }

func (b reaper) Retain(ctx context.Context, svc agent.Service, keep []agent.Release) error {
	return b.Fake.Retain(ctx, svc, keep[:0])
}

// deaf takes every exit for one that was asked for.
type deaf struct{ *targettest.Fake }

func (b deaf) Observe(ctx context.Context, svc agent.Service, report func(agent.Observation)) error {
	return b.Fake.Observe(ctx, svc, func(o agent.Observation) {
		if o.Kind == agent.ObservedExited {
			o.Kind = agent.ObservedStopped
		}
		report(o)
	})
}

// forgetful rolls back to what the files say now, not to the snapshot.
type forgetful struct{ *targettest.Fake }

func (b forgetful) Apply(ctx context.Context, svc agent.Service, rel agent.Release, share int) error {
	if wanted, err := b.Desired(ctx, svc); err == nil {
		rel.Snapshot = wanted.Snapshot
	}
	return b.Fake.Apply(ctx, svc, rel, share)
}

// stubborn deploys what the files name, whatever a human wants.
type stubborn struct{ *targettest.Fake }

func (b stubborn) Desired(ctx context.Context, svc agent.Service) (agent.Wanted, error) {
	svc.Overrides = nil
	return b.Fake.Desired(ctx, svc)
}

// sticky goes on with an override that was taken back.
type sticky struct {
	*targettest.Fake
	last map[string]string
}

func (b *sticky) Desired(ctx context.Context, svc agent.Service) (agent.Wanted, error) {
	if svc.Overrides == nil {
		svc.Overrides = b.last
	}
	b.last = svc.Overrides
	return b.Fake.Desired(ctx, svc)
}

func TestBrokenFakesFailTheSuite(t *testing.T) {
	for name, seed := range map[string]func(*targettest.Fake) target.Target{
		"recreates what runs":           func(f *targettest.Fake) target.Target { return restarter{f} },
		"serves in Fetch":               func(f *targettest.Fake) target.Target { return eager{f} },
		"deletes what is kept":          func(f *targettest.Fake) target.Target { return reaper{f} },
		"takes exits for stops":         func(f *targettest.Fake) target.Target { return deaf{f} },
		"restores the files of the day": func(f *targettest.Fake) target.Target { return forgetful{f} },
		"deaf to overrides":             func(f *targettest.Fake) target.Target { return stubborn{f} },
		"overrides for ever":            func(f *targettest.Fake) target.Target { return &sticky{Fake: f} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed []string
			for _, check := range targettest.Checks() {
				f := targettest.NewFake()
				h := &harness{fake: f, target: seed(f), service: agent.Service{Name: "web"}, patience: 700 * time.Millisecond}
				if complaints := (&recorder{TB: t, ctx: t.Context()}).run(check, h); len(complaints) > 0 {
					failed = append(failed, check.Name)
				}
			}
			if len(failed) == 0 {
				t.Error("the suite finds nothing wrong")
			}
			t.Logf("found by %v", failed)
		})
	}
}
