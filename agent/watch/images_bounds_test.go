package watch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

func TestSlowRegistriesDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for h := range 12 {
			host := fmt.Sprintf("slow%d.corp", h)
			w.take(host, 50*time.Second)
			for r := range 5 {
				w.Set(fmt.Sprint(host, r), []string{fmt.Sprintf("%s/app%d:1", host, r)})
			}
		}
		w.Set("web", []string{"ghcr.io/acme/web:1"})
		pass(60 * poll)
		times := w.times("ghcr.io")
		if len(times) != 60 {
			t.Errorf("got %d questions to the fast registry in 60 intervals, want 60", len(times))
		}
		w.locked(func() {
			if got := w.most["slow0.corp"]; got > maxQuestionsPerHost {
				t.Errorf("got %d questions at once to one registry, want at most %d", got, maxQuestionsPerHost)
			}
			if got := w.most[""]; got >= maxQuestions+13 {
				t.Errorf("got %d questions at once, want at most %d and one more for each registry that had none", got, maxQuestions)
			}
		})
	})
}

func TestQuestionsAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var wg sync.WaitGroup
		for n := range 1000 {
			host := fmt.Sprintf("r%d.corp", n%20)
			w.take(host, 100*time.Millisecond)
			wg.Go(func() { w.wantDigest(t, fmt.Sprintf("%s/app%d:1", host, n), time.Time{}, "sha256:one") })
		}
		wg.Wait()
		if got := w.most[""]; got < maxQuestions || got >= maxQuestions+20 {
			t.Errorf("got %d questions at once of 1000 that wait, want %d and one more for each registry that had none", got, maxQuestions)
		}
		if got, want := len(w.times("")), 1000; got != want {
			t.Errorf("got %d questions, want %d", got, want)
		}
	})
}

// Questions that were under way when another one failed neither count as more
// failures nor undo it.
func TestQuestionsUnderWayDuringAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Set("web", []string{"ghcr.io/acme/web:1", "ghcr.io/acme/api:1"})
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Now(), "sha256:one")
		w.wantDigest(t, "ghcr.io/acme/api:1", time.Now(), "sha256:one")
		w.forget()
		w.take("ghcr.io", 10*time.Second)
		w.serve("ghcr.io", "", errDown)
		pass(2*poll + 30*time.Second)
		min := time.Minute
		wantAsks(t, "two that fail together", w.times(""), min, min, 2*min+10*time.Second)
		if got := w.most["ghcr.io"]; got != 2 {
			t.Errorf("got %d questions at once, want 2", got)
		}
		w.locked(func() { w.most["ghcr.io"] = 0 })
		pass(time.Hour)
		if got := w.most["ghcr.io"]; got != 1 {
			t.Errorf("got %d questions at once to a registry in trouble, want 1", got)
		}
	})
}

func TestAnswerUnderWayDoesNotEndThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.wantDigest(t, "ghcr.io/acme/api:1", time.Time{}, "sha256:one")
		w.take("ghcr.io", 10*time.Second)
		w.serve("ghcr.io/acme/web:1", "sha256:one", nil)
		w.serve("ghcr.io/acme/busy:1", "", busy(time.Hour))
		w.forget()
		var wg sync.WaitGroup
		wg.Go(func() { w.Resolve(t.Context(), "ghcr.io/acme/busy:1", time.Time{}) })
		pass(5 * time.Second)
		wg.Go(func() { w.wantDigest(t, "ghcr.io/acme/web:1", time.Time{}, "sha256:one") })
		synctest.Wait()
		wg.Go(func() { w.wantDigest(t, "ghcr.io/acme/api:1", time.Now(), "sha256:one") }) // waits for room
		pass(time.Minute)
		wg.Wait()
		if _, err := w.Resolve(t.Context(), "ghcr.io/acme/new:1", time.Time{}); !errors.Is(err, agent.ErrUnreachable) {
			t.Errorf("got %v, want the registry left alone", err)
		}
		wantAsks(t, "before and after a 429", w.times(""), 0, 5*time.Second)
	})
}

// Whatever comes together, the books are right afterwards.
func TestEverythingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for h := range 3 {
			host := fmt.Sprintf("r%d.corp", h)
			w.take(host, time.Duration(h)*time.Second)
			w.locked(func() { w.answers[host] = anything })
		}
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				for range 100 {
					w.anyCall(t, fmt.Sprint("service", n))
					time.Sleep(rand.N(poll)) //nolint:forbidigo // virtual time
				}
			})
		}
		wg.Wait()
		w.locked(func() { w.answers, w.takes = map[string]func() (string, error){}, map[string]time.Duration{} })
		pass(time.Hour)
		w.checkBooks(t)
	})
}

func anything() (string, error) {
	switch rand.IntN(8) {
	case 0:
		return "", errDown
	case 1:
		return "", errGone
	case 2:
		return "", busy(rand.N(poll))
	case 3:
		return "sha256:two", nil
	}
	return "sha256:one", nil
}

func (w *world) anyCall(t *testing.T, service string) {
	ref := func() string { return fmt.Sprintf("r%d.corp/app%d:1", rand.IntN(3), rand.IntN(10)) }
	switch rand.IntN(8) {
	case 0, 1:
		w.Set(service, []string{ref(), ref(), ref()})
	case 2:
		w.Remove(service)
	case 3:
		w.Problems()
	case 4:
		w.SetInterval(poll + rand.N(poll))
	case 5:
		w.Resolve(t.Context(), ref(), time.Now())
	default:
		w.Resolve(t.Context(), ref(), time.Time{})
	}
}

func (w *world) checkBooks(t *testing.T) {
	t.Helper()
	wanted := map[string]bool{}
	for service, names := range w.services {
		for _, full := range names {
			wanted[full] = true
			if !w.images[full].services[service] {
				t.Errorf("%s does not know that %s wants it", full, service)
			}
		}
	}
	running := 0
	for _, h := range w.hosts {
		running += h.runs
		n := 0
		for full, img := range h.images {
			if wanted[full] != (len(img.services) > 0) || img.place < 0 || h.queue[img.place] != img || img.question != nil {
				t.Errorf("got %+v, want it in the queue, wanted: %t", img, wanted[full])
			}
			if wanted[full] {
				n++
			}
			if wanted[full] && (img.digest != "sha256:one" || !img.since.IsZero() || img.asked.Before(time.Now().Add(-w.interval))) {
				t.Errorf("got %+v, want an answer of the last interval", img)
			}
		}
		if h.wanted != n || !h.since.IsZero() || len(h.queue) != len(h.images) {
			t.Errorf("%s: got %d wanted, in trouble since %s, want %d and none", h.name, h.wanted, h.since, n)
		}
	}
	if w.Images.running != running || running != 0 {
		t.Errorf("got %d questions under way, hosts say %d, want none", w.Images.running, running)
	}
}

// A short pause costs a registry's references no whole interval.
func TestEverythingIsAskedAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for n := range 20 {
			w.Set(fmt.Sprint("service", n), []string{fmt.Sprintf("ghcr.io/acme/app%d:1", n)})
		}
		pass(2 * poll)
		w.serve("ghcr.io", "", busy(5*time.Second))
		w.forget()
		for len(w.times("")) == 0 {
			pass(time.Second)
		}
		first := w.times("")[0]
		w.serve("ghcr.io", "sha256:two", nil)
		if _, err := w.Resolve(t.Context(), "ghcr.io/acme/new:1", time.Time{}); err == nil {
			t.Error("got an answer during the pause, want an error")
		}
		w.Set("new", []string{"ghcr.io/acme/new:1"})
		pass(poll/2 - (time.Since(w.start) - first))
		seen := map[string]bool{}
		w.locked(func() {
			for _, a := range w.asks {
				seen[a.ref] = true
			}
		})
		if again := w.times("")[1]; again != first+5*time.Second || len(seen) != 21 {
			t.Errorf("got asked again after %s, and for %d references within half an interval, want 5s and 21", again-first, len(seen))
		}
		if changes, _ := w.told(); len(changes) != 21 {
			t.Errorf("got %d changes, want one of each service, and of that which had no digest", len(changes))
		}
	})
}
