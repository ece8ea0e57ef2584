package targettest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollback-agent/agent"
)

// stage is a harness with the steps that the checks are written in.
type stage struct {
	testing.TB
	Harness
	last int64
}

func onStage(t testing.TB, h Harness) *stage { return &stage{TB: t, Harness: h} }

// desired loads the files and resolves every artifact, as the core does.
func (s *stage) desired() agent.Wanted {
	s.Helper()
	wanted, err := s.Target().Desired(s.Context(), s.Service())
	if err != nil {
		s.Fatalf("Desired: got %v, want no error", err)
	}
	for i, a := range wanted.Artifacts {
		if a.Digest == "" {
			wanted.Artifacts[i].Digest = s.Resolve(s.TB, a)
		}
	}
	return wanted
}

// release numbers what is wanted.
func (s *stage) release(w agent.Wanted) agent.Release {
	s.last++
	return agent.Release{
		Service: s.Service().Name, Number: s.last, Fingerprint: w.Fingerprint(),
		Artifacts: w.Artifacts, ConfigHash: w.ConfigHash, Snapshot: w.Snapshot, Secrets: w.Secrets,
	}
}

// restoring numbers a release that makes another one serve again.
func (s *stage) restoring(old agent.Release) agent.Release {
	s.last++
	old.Artifacts = slices.Clone(old.Artifacts)
	old.Restores, old.Number = old.Number, s.last
	return old
}

func (s *stage) fetch(rel agent.Release) agent.Release {
	s.Helper()
	fetched, err := s.Target().Fetch(s.Context(), s.Service(), rel, nil)
	if err != nil {
		s.Fatalf("Fetch of r%d: got %v, want no error", rel.Number, err)
	}
	return fetched
}

func (s *stage) apply(rel agent.Release) {
	s.Helper()
	if err := s.Target().Apply(s.Context(), s.Service(), rel, 100); err != nil {
		s.Fatalf("Apply of r%d: got %v, want no error", rel.Number, err)
	}
}

// deploy makes a version serve.
func (s *stage) deploy(v Version) agent.Release {
	s.Helper()
	rel := s.prepare(v)
	s.apply(rel)
	return rel
}

// prepare does everything of a deployment but the Apply.
func (s *stage) prepare(v Version) agent.Release {
	s.Helper()
	s.Want(s.TB, v)
	return s.fetch(s.release(s.desired()))
}

func (s *stage) running() agent.Running {
	s.Helper()
	running, err := s.Target().Running(s.Context(), s.Service())
	if err != nil {
		s.Fatalf("Running: got %v, want no error", err)
	}
	return running
}

func (s *stage) ids() []string {
	s.Helper()
	var ids []string
	for _, i := range s.running().Instances {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

// serves checks what serves, of two releases.
func (s *stage) serves(want agent.Serving, to, from *agent.Release) {
	s.Helper()
	running := s.running()
	if got := running.Serves(to, from); got != want {
		s.Fatalf("got serving %q, want %q: %+v", got, want, running)
	}
}

// eventually asks until there is no error left.
func (s *stage) eventually(ask func() error) {
	s.Helper()
	deadline, tick := time.NewTimer(s.Patience()), time.NewTicker(10*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			s.Fatalf("after %v: %v", s.Patience(), err)
		case <-tick.C:
		}
	}
}

// observer collects what an Observe call reports.
type collected struct {
	*stage
	stop context.CancelFunc
	done chan error

	mu   sync.Mutex
	seen []agent.Observation
	busy bool
}

// observe begins to observe and waits for the first report.
func (s *stage) observe() *collected {
	s.Helper()
	ctx, stop := context.WithCancel(s.Context())
	c := &collected{stage: s, stop: stop, done: make(chan error, 1)}
	go func() { c.done <- s.Target().Observe(ctx, s.Service(), c.report) }()
	s.Cleanup(c.end)
	s.eventually(func() error {
		if len(c.all()) == 0 {
			return fmt.Errorf("got no observation, want a snapshot")
		}
		return nil
	})
	return c
}

// report checks that the target never calls it twice at a time.
func (c *collected) report(o agent.Observation) {
	c.mu.Lock()
	if c.busy {
		c.Errorf("got concurrent calls of report, want one at a time")
	}
	c.busy = true
	c.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, o)
	c.busy = false
}

func (c *collected) all() []agent.Observation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// await returns the first observation that matches.
func (c *collected) await(what string, match func(agent.Observation) bool) agent.Observation {
	c.Helper()
	var found agent.Observation
	c.eventually(func() error {
		for _, o := range c.all() {
			if match(o) {
				found = o
				return nil
			}
		}
		return fmt.Errorf("got no %s, want one: %s", what, c)
	})
	return found
}

func (c *collected) awaitKind(kind agent.ObservationKind) agent.Observation {
	c.Helper()
	return c.await(string(kind), func(o agent.Observation) bool { return o.Kind == kind })
}

// end stops observing and waits until Observe has returned.
func (c *collected) end() {
	c.stop()
	if c.done == nil {
		return
	}
	timer := time.NewTimer(c.Patience())
	defer timer.Stop()
	select {
	case err := <-c.done:
		if err != nil {
			c.Errorf("Observe: got %v, want no error when its context ends", err)
		}
	case <-timer.C:
		c.Errorf("Observe goes on %v after its context ended", c.Patience())
	}
	c.done = nil
}

func (c *collected) String() string {
	var lines []string
	for _, o := range c.all() {
		lines = append(lines, fmt.Sprintf("%s %.12s %s %s %q", o.Kind, o.Instance.ID, o.Instance.Phase, o.Instance.Health, o.Detail))
	}
	return strings.Join(lines, "; ")
}
