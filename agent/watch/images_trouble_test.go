package watch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

func TestField18OutageIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.Set("api", []string{"ghcr.io/acme/web:1"})
		down := agent.WithHint(fmt.Errorf("resolving ghcr.io/acme/web:1: proxyconnect http://ada:engine@proxy: %w\nsecond line", errDown), "is it up?")
		w.serve("ghcr.io", "", down)
		pass(8 * time.Hour)
		_, events := w.told()
		if len(events) != 1 {
			t.Fatalf("got %+v, want one trouble in eight hours", events)
		}
		e := events[0]
		if e.Kind != agent.EventTrouble || e.Subject != "registry ghcr.io" || e.Reason != agent.ReasonUnanswered ||
			e.Severity != agent.SeverityWarning || e.Hint != "is it up?" || e.At.Sub(w.start) != 6*poll {
			t.Errorf("got %+v after %s, want a warning about registry ghcr.io after %s", e, e.At.Sub(w.start), 6*poll)
		}
		want := "registry ghcr.io could not be asked since " + w.start.Add(poll).Local().Format("15:04") +
			" (5 polls missed): proxyconnect http://•••@proxy: connection refused: not reachable; images of api, web are not watched"
		if e.Message != want {
			t.Errorf("got %q, want %q", e.Message, want)
		}
		for service, err := range w.Problems() {
			if !strings.Contains(err.Error(), "registry ghcr.io cannot be asked since") || agent.Hint(err) != "is it up?" || strings.Contains(err.Error(), "engine") {
				t.Errorf("%s: got %v, want since when, and no password", service, err)
			}
		}
		if got := len(w.Problems()); got != 2 {
			t.Errorf("got problems of %d services, want 2", got)
		}

		w.serve("ghcr.io", "sha256:one", nil)
		pass(time.Hour)
		changes, events := w.told()
		if len(events) != 2 || events[1].Kind != agent.EventMended || events[1].Subject != e.Subject || events[1].Severity != agent.SeverityInfo {
			t.Errorf("got %+v, want the same trouble mended", events)
		}
		if len(changes) != 0 || len(w.Problems()) != 0 {
			t.Errorf("got %+v and %v, want neither news nor problems", changes, w.Problems())
		}
	})
}

func TestShortOutageIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.serve("ghcr.io", "", errDown)
		pass(3 * poll)
		w.serve("ghcr.io", "sha256:one", nil)
		pass(time.Hour)
		if _, events := w.told(); len(events) != 0 {
			t.Errorf("got %+v, want nothing told", events)
		}
	})
}

func TestRefusedImageIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.Set("api", []string{"ghcr.io/acme/api:1"})
		w.serve("ghcr.io/acme/web:1", "", errGone)
		pass(8 * time.Hour)
		_, events := w.told()
		if len(events) != 1 || events[0].Subject != "image ghcr.io/acme/web:1" || events[0].Hint != "was it pushed?" || events[0].At.Sub(w.start) != 6*poll {
			t.Fatalf("got %+v, want one trouble in eight hours, after %s", events, 6*poll)
		}
		if got, want := len(w.times("ghcr.io/acme/web:1")), 480; got != want {
			t.Errorf("got %d questions, want %d", got, want)
		}
		problems := w.Problems()
		if len(problems) != 1 || !strings.Contains(fmt.Sprint(problems["web"]), "no such image") {
			t.Errorf("got %v, want one of web", problems)
		}
		w.wantDigest(t, "ghcr.io/acme/web:1", time.Time{}, "sha256:one")
		w.serve("ghcr.io/acme/web:1", "sha256:one", nil)
		pass(poll)
		if changes, events := w.told(); len(changes) != 0 || len(events) != 2 || events[1].Kind != agent.EventMended {
			t.Errorf("got %+v and %+v, want it mended and no news", changes, events)
		}
	})
}

// An image that is built here has a name that Docker Hub does not know.
func TestLocallyBuiltImageIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("docker.io", "", errGone)
		w.Set("web", []string{"myapp"})
		pass(time.Hour)
		w.serve("docker.io", "", errDown)
		pass(time.Hour)
		if _, events := w.told(); len(events) != 0 || len(w.Problems()) != 0 {
			t.Errorf("got %+v and %v, want silence", events, w.Problems())
		}
		w.serve("docker.io", "sha256:one", nil)
		pass(2 * poll)
		w.serve("docker.io", "", errGone)
		pass(time.Hour)
		if _, events := w.told(); len(events) != 1 || len(w.Problems()) != 1 {
			t.Errorf("got %+v and %v, want a trouble once it was answered", events, w.Problems())
		}
	})
}

func TestTroubleThatNobodyNeedsAnyMoreIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := known(t, "ghcr.io/acme/web:1")
		w.wantDigest(t, "quay.io/acme/api:1", time.Now(), "sha256:one")
		w.Set("api", []string{"quay.io/acme/api:1"})
		w.serve("ghcr.io", "", errDown)
		w.serve("quay.io", "", errGone)
		pass(time.Hour)
		if _, events := w.told(); len(events) != 2 {
			t.Fatalf("got %+v, want two troubles", events)
		}
		w.Remove("web")
		w.Set("web", []string{"ghcr.io/acme/web:1"}) // as a reload does
		pass(time.Hour)
		if _, events := w.told(); len(events) != 2 {
			t.Errorf("got %+v, want no word of a service that came back at once", events)
		}
		w.Remove("web")
		w.Remove("api")
		pass(time.Hour)
		if _, events := w.told(); len(events) != 4 || events[2].Kind != agent.EventMended || events[3].Kind != agent.EventMended {
			t.Errorf("got %+v, want both over", events)
		}
	})
}

func TestTextsAreShort(t *testing.T) {
	err := errors.New("resolving a/b: " + strings.Repeat("é", 1000) + "\nmore")
	if got, want := plain(err, "a/b"), strings.Repeat("é", maxText)+"…"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	names := strings.Split("a b c d e f g", " ")
	if got, want := list(names), "a, b, c, d, e and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if now := time.Now(); clock(now) != now.Format("15:04") || clock(now.AddDate(0, 0, -1)) == now.Format("15:04") {
		t.Errorf("got %q and %q, want the day of what was not today", clock(now), clock(now.AddDate(0, 0, -1)))
	}
}

// A restart in the middle of a trouble loses neither its end nor tells it twice.
func TestTroublesOfAnEarlierProcessEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("ghcr.io", "", fmt.Errorf("resolving it: %w", agent.ErrUnreachable))
		w.Recall([]agent.Event{
			{Kind: agent.EventTrouble, Subject: "registry r.example", At: time.Now()},
			{Kind: agent.EventTrouble, Subject: "registry gone.example", At: time.Now()},
			{Kind: agent.EventTrouble, Subject: "registry ghcr.io", At: time.Now()},
			{Kind: agent.EventTrouble, Subject: "config"},
		})
		w.serve("r.example", "sha256:one", nil)
		w.Set("web", []string{"r.example/web:1", "ghcr.io/acme/web:1"})
		pass(2 * time.Minute)
		wantEvents(t, w, "mended registry r.example")
		pass(10 * time.Minute)
		wantEvents(t, w, "mended registry r.example", "mended registry gone.example", "trouble registry ghcr.io")
		w.serve("ghcr.io", "sha256:one", nil)
		pass(time.Hour)
		wantEvents(t, w, "mended registry r.example", "mended registry gone.example", "trouble registry ghcr.io", "mended registry ghcr.io")
	})
}

func wantEvents(t *testing.T, w *world, want ...string) {
	t.Helper()
	_, events := w.told()
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s %s", e.Kind, e.Subject))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
