package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

func TestField18OneQuestionPerReferenceAndInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for s := range 100 {
			var refs []string
			for r := range 10 {
				refs = append(refs, fmt.Sprintf([]string{"acme/web%d", "docker.io/acme/web%d:latest"}[s%2], r))
			}
			w.Set(fmt.Sprintf("service%d", s), append(refs, "web@sha256:"+strings.Repeat("ab", 32), "NOT/A ref"))
		}
		pass(60*poll - 1)
		if got := len(w.times("")); got != 600 {
			t.Errorf("got %d questions for 10 references in 60 intervals, want 600", got)
		}
		phases := map[time.Duration]bool{}
		for r := range 10 {
			times := w.times(fmt.Sprintf("docker.io/acme/web%d:latest", r))
			for n, at := range times[1:] {
				if at-times[n] != poll {
					t.Fatalf("got %s between two questions, want %s", at-times[n], poll)
				}
			}
			phases[times[0]] = true
		}
		if len(phases) < 9 {
			t.Errorf("got %d phases of 10 references, want them apart", len(phases))
		}
		if changes, events := w.told(); len(changes)+len(events) > 0 {
			t.Errorf("got %v and %v, want nothing told", changes, events)
		}
	})
}

func TestNewsReachesEveryServiceWithinOneInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Set("web", []string{"ghcr.io/acme/web:1"})
		w.Set("api", []string{"ghcr.io/acme/web:1", "ghcr.io/acme/api:1"})
		w.Set("db", []string{"ghcr.io/acme/db:1"})
		pass(10 * poll)
		w.serve("ghcr.io/acme/web:1", "sha256:two", nil)
		pushed := time.Now()
		pass(5 * poll)
		changes, _ := w.told()
		if len(changes) != 2 || changes[0].Service != "api" || changes[1].Service != "web" {
			t.Fatalf("got %+v, want one change of api and one of web", changes)
		}
		for _, c := range changes {
			if c.Cause != "registry" || c.At.Sub(pushed) > poll {
				t.Errorf("got %+v after %s, want cause registry within %s", c, c.At.Sub(pushed), poll)
			}
		}
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Time{}, "sha256:two")
	})
}

func TestWorkersResolveThroughThePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ref := "ghcr.io/acme/web:1"
		w.take("ghcr.io", time.Second)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { w.wantDigest(t, ref, time.Time{}, "sha256:one") })
		}
		wg.Wait()
		wantAsks(t, "50 workers at once", w.times(""), 0)
		w.wantDigest(t, ref, time.Time{}, "sha256:one")
		wantAsks(t, "an answer that is young", w.times(""), 0)
		pass(poll)
		w.wantDigest(t, ref, time.Time{}, "sha256:one")
		wantAsks(t, "nobody polls it, and it is old", w.times(""), 0, poll+time.Second)

		w.Set("web", []string{ref})
		pass(10 * poll)
		before := len(w.times(""))
		for range 100 {
			w.wantDigest(t, ref, time.Time{}, "sha256:one")
		}
		if got := len(w.times("")); got != before {
			t.Errorf("got %d questions by workers for a polled reference, want none", got-before)
		}
		w.serve(ref, "sha256:two", nil)
		now := time.Now()
		w.wantDigest(t, ref, now, "sha256:two")
		w.wantDigest(t, ref, now, "sha256:two")
		if got := len(w.times("")); got != before+1 {
			t.Errorf("got %d questions for two orders of one moment, want one", got-before)
		}
		if changes, _ := w.told(); len(changes) != 1 || changes[0].Service != "web" {
			t.Errorf("got %+v, want web told of what an order found", changes)
		}
		pass(poll - 2*time.Second)
		if got := len(w.times("")); got != before+1 {
			t.Errorf("got %d polls within an interval of the order, want none: it was one", got-before-1)
		}
		pass(2 * time.Second)
		if got := len(w.times("")); got != before+2 {
			t.Errorf("got %d polls one interval after the order, want one", got-before-1)
		}
	})
}

// An answer that was under way when the order came may be from before it.
func TestAnOrderIsAnsweredByALaterQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.take("ghcr.io", 10*time.Second)
		go w.Resolve(t.Context(), "ghcr.io/acme/web:1", time.Time{})
		pass(5 * time.Second)
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Now(), "sha256:one")
		wantAsks(t, "an order during a question", w.times(""), 0, 10*time.Second)
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Now().Add(time.Hour), "sha256:one")
		wantAsks(t, "an order from the future", w.times(""), 0, 10*time.Second, 20*time.Second)
	})
}

func TestWhatCouldNotBeResolvedIsToldWhenItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("ghcr.io/acme/web:1", "", errGone)
		if _, err := w.Resolve(t.Context(), "ghcr.io/acme/web:1", time.Time{}); !errors.Is(err, errGone) {
			t.Errorf("got %v, want %v", err, errGone)
		}
		w.Set("web", []string{"ghcr.io/acme/web:1"})
		pass(3 * poll)
		before := len(w.times(""))
		if _, err := w.Resolve(t.Context(), "ghcr.io/acme/web:1", time.Time{}); !errors.Is(err, errGone) {
			t.Errorf("got %v, want %v", err, errGone)
		}
		if got := len(w.times("")); got != before {
			t.Errorf("got %d questions for a refusal that is polled, want none", got-before)
		}
		w.serve("ghcr.io/acme/web:1", "sha256:one", nil)
		pass(3 * poll)
		if changes, events := w.told(); len(changes) != 1 || len(events) != 0 {
			t.Errorf("got %+v and %+v, want one change", changes, events)
		}
	})
}

// What was answered before the service named it counts as known: a push between
// the two is news.
func TestPushBetweenLookAndWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Time{}, "sha256:one")
		w.serve("ghcr.io", "sha256:two", nil)
		pass(10 * poll)
		w.Set("web", []string{"ghcr.io/acme/web:1"})
		pass(poll)
		if changes, _ := w.told(); len(changes) != 1 {
			t.Errorf("got %+v, want one change", changes)
		}
	})
}

func TestNothingIsKeptOfWhatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for n := range 1000 {
			w.Set("web", []string{fmt.Sprintf("ghcr.io/acme/web:%d", n)})
			pass(time.Second)
		}
		w.Set("api", []string{"ghcr.io/acme/web:999", "ghcr.io/acme/api:1"})
		w.Remove("web")
		pass(2 * keepUnwanted)
		w.locked(func() { w.asks = nil })
		pass(10 * poll)
		if got := len(w.times("")); got != 20 {
			t.Errorf("got %d questions in 10 intervals, want 20 for the two that are wanted", got)
		}
		if got := slices.Sorted(maps.Keys(w.images)); len(got) != 2 {
			t.Errorf("got %v remembered, want two", got)
		}
		w.Remove("api")
		pass(3 * keepUnwanted)
		if len(w.images)+len(w.hosts) != 0 {
			t.Errorf("got %v and %v remembered, want nothing", w.images, w.hosts)
		}
	})
}

func TestIntervalChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Set("web", []string{"ghcr.io/acme/web:1", "ghcr.io/acme/api:1"})
		pass(time.Second)
		w.SetInterval(10 * time.Second)
		w.forget()
		pass(10*time.Minute - 1)
		if got := len(w.times("")); got != 120 {
			t.Errorf("got %d questions for two references in 60 intervals, want 120", got)
		}
		w.SetInterval(10 * time.Minute)
		w.forget()
		pass(100*time.Minute - 1)
		if got := len(w.times("")); got != 20 {
			t.Errorf("got %d questions for two references in 10 intervals, want 20", got)
		}
	})
}

func TestStopEndsEveryQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Time{}, "sha256:one")
		w.take("ghcr.io", time.Hour)
		errs := make(chan error, 5)
		for n := range 5 { // two are asked, three wait
			go func() {
				_, err := w.Resolve(t.Context(), fmt.Sprintf("ghcr.io/acme/api:%d", n), time.Time{})
				errs <- err
			}()
		}
		pass(time.Second)
		w.stop()
		for range 5 {
			if err := <-errs; !errors.Is(err, agent.ErrUnreachable) {
				t.Errorf("got %v, want it not reachable", err)
			}
		}
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Now(), "sha256:one")
		if _, err := w.Resolve(t.Context(), "ghcr.io/acme/new:1", time.Time{}); !errors.Is(err, errStopped) {
			t.Errorf("got %v, want %v", err, errStopped)
		}
		if _, events := w.told(); len(events) != 0 {
			t.Errorf("got %+v, want no trouble told because of a stop", events)
		}
	})
}

func TestResolveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.take("ghcr.io", 10*time.Second)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("patience is over"))
		defer cancel()
		_, err := w.Resolve(ctx, "ghcr.io/acme/web:1", time.Time{})
		if err == nil || !strings.Contains(err.Error(), "patience is over") {
			t.Errorf("got %v, want the cause of the end", err)
		}
		w.Set("web", []string{"ghcr.io/acme/web:1"})
		pass(2 * poll)
		if changes, _ := w.told(); len(changes) != 1 {
			t.Errorf("got %+v, want one: whoever left had no digest", changes)
		}
	})
}
