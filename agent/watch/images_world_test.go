package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

const poll = time.Minute

// asked is one question that reached the asker.
type asked struct {
	ref string
	at  time.Time
}

// world is a set of registries in a bubble, and Images that poll them.
type world struct {
	*Images
	start time.Time
	stop  func()

	mu      sync.Mutex
	asks    []asked
	answers map[string]func() (string, error) // by full name; else by host; else "one"
	takes   map[string]time.Duration          // by host
	running map[string]int                    // by host, "" is all
	most    map[string]int
	changes []agent.Change
	events  []agent.Event
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		start: time.Now(), answers: map[string]func() (string, error){}, takes: map[string]time.Duration{},
		running: map[string]int{}, most: map[string]int{},
	}
	w.Images = NewImages(slog.New(slog.DiscardHandler), registries{w}, poll,
		func(c agent.Change) { w.locked(func() { w.changes = append(w.changes, c) }) },
		func(e agent.Event) { w.locked(func() { w.events = append(w.events, e) }) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v from Run, want nil", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// registries are the world as an Asker: Images has a Resolve of its own.
type registries struct{ w *world }

func (a registries) Resolve(ctx context.Context, ref string) (string, error) {
	w, host := a.w, strings.Split(ref, "/")[0]
	w.mu.Lock()
	w.asks = append(w.asks, asked{ref, time.Now()})
	for _, key := range []string{host, ""} {
		w.running[key]++
		w.most[key] = max(w.most[key], w.running[key])
	}
	takes := w.takes[host]
	w.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-time.After(takes):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[host]--
	w.running[""]--
	if err != nil {
		return "", err
	}
	for _, key := range []string{ref, host} {
		if answer := w.answers[key]; answer != nil {
			return answer()
		}
	}
	return "sha256:one", nil
}

// serve makes a reference, or everything of a host, answer so from now on.
func (w *world) serve(key, digest string, err error) {
	w.locked(func() {
		w.answers[key] = func() (string, error) {
			if err != nil {
				return "", err
			}
			return digest, nil
		}
	})
}

// take makes every answer of a host take so long.
func (w *world) take(host string, d time.Duration) { w.locked(func() { w.takes[host] = d }) }

// times returns when a reference was asked for, or any of a host, since the start.
func (w *world) times(key string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var times []time.Duration
	for _, a := range w.asks {
		if strings.HasPrefix(a.ref, key) {
			times = append(times, a.at.Sub(w.start))
		}
	}
	return times
}

// forget drops what was asked and told so far and counts time from now.
func (w *world) forget() {
	synctest.Wait()
	w.locked(func() { w.asks, w.changes, w.events, w.start = nil, nil, nil, time.Now() })
}

func (w *world) told() (changes []agent.Change, events []agent.Event) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes), slices.Clone(w.events)
}

func (w *world) wantDigest(t *testing.T, ref string, asOf time.Time, want string) {
	t.Helper()
	if got, err := w.Resolve(t.Context(), ref, asOf); err != nil || got != want {
		t.Errorf("resolving %s: got %q, %v, want %q", ref, got, err, want)
	}
}

func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual time
	synctest.Wait()
}

func wantAsks(t *testing.T, what string, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got asked after %v, want %v", what, got, want)
	}
}

var (
	errDown = fmt.Errorf("connection refused: %w", agent.ErrUnreachable)
	errGone = agent.Permanent(agent.WithHint(errors.New("no such image"), "was it pushed?"))
)
