package compose_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// cable is a socket that leads to the engine and can be cut.
type cable struct {
	path string

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	wg       sync.WaitGroup
}

func newCable(t *testing.T) *cable {
	t.Helper()
	c := &cable{path: filepath.Join(t.TempDir(), "d.sock"), open: map[net.Conn]bool{}}
	c.plugIn(t)
	t.Cleanup(c.cutOff)
	return c
}

func (c *cable) plugIn(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.listener = listener
	c.mu.Unlock()
	c.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.lead(conn) })
		}
	})
}

func (c *cable) lead(near net.Conn) {
	far, err := net.Dial("unix", cmp.Or(strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://"), "/var/run/docker.sock"))
	if err != nil {
		near.Close()
		return
	}
	c.mu.Lock()
	c.open[near], c.open[far] = true, true
	c.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(far, near); far.Close() })
	both.Go(func() { io.Copy(near, far); near.Close() })
	both.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, near)
	delete(c.open, far)
}

// cutOff breaks every connection and takes no new ones.
func (c *cable) cutOff() {
	c.mu.Lock()
	c.listener.Close()
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func TestField21EngineGoesAwayAndComesBack(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	rel := h.deploy()
	line := newCable(t)
	h.svc.Compose.DockerHost = "unix://" + line.path
	w := h.observe()
	line.cutOff()
	w.await(t, "the loss", func(o agent.Observation) bool { return o.Kind == agent.ObservedLost })
	if _, err := h.target.Running(t.Context(), h.svc); !errors.Is(err, agent.ErrUnreachable) {
		t.Errorf("Running: got %v, want ErrUnreachable", err)
	}
	if err := h.target.Apply(t.Context(), h.svc, rel, 100); !errors.Is(err, agent.ErrUnreachable) {
		t.Errorf("Apply: got %v, want ErrUnreachable", err)
	}
	if _, err := h.target.Fetch(t.Context(), h.svc, rel, nil); !errors.Is(err, agent.ErrUnreachable) || errors.Is(err, agent.ErrSourceMissing) {
		t.Errorf("Fetch: got %v, want ErrUnreachable alone", err)
	}
	line.plugIn(t)
	testbed.Eventually(t, 20*time.Second, func() error {
		seen := w.all()
		if last := seen[len(seen)-1]; last.Kind != agent.ObservedSnapshot || len(last.Instances) != 1 {
			return fmt.Errorf("got %s %v last, want a snapshot of web", last.Kind, last.Instances)
		}
		return nil
	})
	lost := 0
	for _, o := range w.all() {
		if o.Kind == agent.ObservedLost {
			lost++
		}
	}
	if lost != 1 {
		t.Errorf("got %d losses told, want 1: %s", lost, w)
	}
}

func TestObserveBeginsWhileTheEngineIsAway(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	h.deploy()
	line := newCable(t)
	line.cutOff()
	h.svc.Compose.DockerHost = "unix://" + line.path
	var mu sync.Mutex
	var seen []agent.ObservationKind
	done := make(chan error, 1)
	ctx, stop := cancelled(t)
	go func() {
		done <- h.target.Observe(ctx, h.svc, func(o agent.Observation) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, o.Kind)
		})
	}()
	kinds := func() []agent.ObservationKind {
		mu.Lock()
		defer mu.Unlock()
		return append([]agent.ObservationKind(nil), seen...)
	}
	testbed.Eventually(t, 10*time.Second, func() error {
		if got := kinds(); len(got) != 1 || got[0] != agent.ObservedLost {
			return fmt.Errorf("got %v, want the loss first", got)
		}
		return nil
	})
	line.plugIn(t)
	testbed.Eventually(t, 20*time.Second, func() error {
		if got := kinds(); len(got) != 2 || got[1] != agent.ObservedSnapshot {
			return fmt.Errorf("got %v, want a snapshot next", got)
		}
		return nil
	})
	stop()
	if err := <-done; err != nil {
		t.Errorf("got %v, want no error", err)
	}
}
