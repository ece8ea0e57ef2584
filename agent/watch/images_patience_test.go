package watch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
)

func busy(after time.Duration) error {
	return fmt.Errorf("resolving it: %w", &registry.BusyError{Host: "ghcr.io", After: after})
}

// known is a world with one service and one reference that was answered at the
// moment from which time counts.
func known(t *testing.T, ref string) *world {
	t.Helper()
	w := newWorld(t)
	w.Set("web", []string{ref})
	w.wantDigest(t, ref, time.Now(), "sha256:one")
	w.forget()
	return w
}

func TestField18BusyRegistryIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.serve("ghcr.io", "", busy(10*time.Minute))
		pass(2 * time.Minute)
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Now(), "sha256:one")
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Time{}, "sha256:one")
		_, err := w.Resolve(t.Context(), "ghcr.io/acme/other:1", time.Now())
		if !errors.Is(err, agent.ErrUnreachable) || !strings.Contains(err.Error(), "ghcr.io/acme/other:1: registry ghcr.io cannot be asked since") {
			t.Errorf("got %v, want why the registry is not asked", err)
		}
		w.serve("ghcr.io", "sha256:two", nil)
		pass(9*time.Minute - time.Second)
		wantAsks(t, "429 with Retry-After: 600", w.times(""), time.Minute)
		pass(time.Second)
		wantAsks(t, "afterwards", w.times("ghcr.io/acme/web"), time.Minute, 11*time.Minute)
		if changes, events := w.told(); len(changes) != 1 || len(events) != 2 {
			t.Errorf("got %+v and %+v, want the news, and a trouble that is over", changes, events)
		}
	})
}

func TestBusyRegistryThatNamesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.serve("ghcr.io", "", busy(0))
		pass(5 * time.Hour)
		min := time.Minute
		wantAsks(t, "429", w.times(""), min, 2*min, 4*min, 8*min, 16*min, 32*min, 64*min, 124*min, 184*min, 244*min)
	})
}

func TestBusyRegistryThatNamesAnAbsurdTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.serve("ghcr.io", "", busy(1000*time.Hour))
		pass(25 * time.Hour)
		wantAsks(t, "Retry-After of weeks", w.times(""), time.Minute, 24*time.Hour+time.Minute)
		w.serve("ghcr.io", "", busy(time.Second))
		w.forget()
		pass(23*time.Hour + 11*time.Minute)
		if got := len(w.times("")); got < 10 || got > 11 {
			t.Errorf("got %d questions in ten minutes of Retry-After: 1, want no more than polls", got)
		}
	})
}

func TestUnreachableRegistryIsAskedByOneReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		for n := range 50 {
			w.Set(fmt.Sprint("service", n), []string{fmt.Sprintf("ghcr.io/acme/app%d:1", n)})
		}
		pass(10 * poll)
		w.serve("ghcr.io", "", errDown)
		w.forget()
		pass(poll)
		first := w.times("")[0]
		pass(20 * poll)
		min := time.Minute
		wantAsks(t, "an outage", w.times(""), first, first+min, first+3*min, first+5*min, first+7*min, first+9*min, first+11*min, first+13*min, first+15*min, first+17*min, first+19*min)

		asked := w.times("")
		w.wantDigest(t, "ghcr.io/acme/app7:1", time.Time{}, "sha256:one")
		w.wantDigest(t, "ghcr.io/acme/app7:1", time.Now(), "sha256:one")
		if got := len(w.times("")); got != len(asked)+1 {
			t.Errorf("got %d questions for an order during an outage, want one", got-len(asked))
		}

		w.serve("ghcr.io", "sha256:two", nil)
		w.forget()
		pass(2 * poll)
		back := w.times("")[0]
		within := func(d time.Duration) (n int) {
			for _, at := range w.times("") {
				if at < back+d {
					n++
				}
			}
			return n
		}
		if got := within(poll/10 + time.Second); got < 51 || got > 53 {
			t.Errorf("got %d questions when the registry was back, want one for each of 51 references", got)
		}
		if changes, _ := w.told(); len(changes) != 51 {
			t.Errorf("got %d changes, want 51", len(changes))
		}
		pass(10 * poll)
		w.forget()
		pass(10 * poll)
		if got := len(w.times("")); got != 510 {
			t.Errorf("got %d questions in ten intervals, want 510", got)
		}
	})
}

func TestPhasesAreApartAgainAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for n := range 60 {
			w.Set(fmt.Sprint("service", n), []string{fmt.Sprintf("ghcr.io/acme/app%d:1", n)})
		}
		w.serve("ghcr.io", "", errDown)
		pass(poll)
		w.serve("ghcr.io", "sha256:one", nil)
		pass(10 * poll)
		w.forget()
		pass(poll - 1)
		early := 0
		for _, at := range w.times("") {
			if at < poll/2 {
				early++
			}
		}
		if early < 10 || early > 50 {
			t.Errorf("got %d of 60 references asked for in one half of the interval, want them spread", early)
		}
	})
}

// One reference that makes its registry fail must not keep the others from being
// polled.
func TestOneSickReferenceIsItsOwnTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Set("web", []string{"ghcr.io/acme/web:1", "ghcr.io/acme/sick:1"})
		w.Set("api", []string{"ghcr.io/acme/api:1"})
		pass(2 * poll)
		w.serve("ghcr.io/acme/sick:1", "", errDown)
		pass(10 * poll)
		w.locked(func() { w.asks = nil })
		pass(60 * poll)
		for _, ref := range []string{"ghcr.io/acme/web:1", "ghcr.io/acme/api:1", "ghcr.io/acme/sick:1"} {
			if got := len(w.times(ref)); got != 60 {
				t.Errorf("got %d questions for %s in 60 intervals, want 60", got, ref)
			}
		}
		_, events := w.told()
		if len(events) != 1 || events[0].Subject != "image ghcr.io/acme/sick:1" {
			t.Errorf("got %+v, want one trouble of the image", events)
		}
		w.serve("ghcr.io", "", errDown)
		pass(10 * poll)
		if _, events := w.told(); len(events) != 2 || events[1].Subject != "registry ghcr.io" {
			t.Errorf("got %+v, want the trouble of the registry told, too", events)
		}
	})
}
