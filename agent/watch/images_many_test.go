package watch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

// A login that is over is one message, not one for each image.
func TestManyRefusedImagesAreOneTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("ghcr.io", "sha256:one", nil)
		for n := range 30 {
			w.Set(fmt.Sprintf("service-%d", n), []string{fmt.Sprintf("ghcr.io/acme/app-%d:1", n)})
		}
		pass(10 * time.Minute)
		w.serve("ghcr.io", "", agent.Permanent(errors.New("ghcr.io refused: 401 Unauthorized")))
		pass(time.Hour)
		wantEvents(t, w, "trouble images of ghcr.io")
		if _, events := w.told(); !strings.Contains(events[0].Message, "30 images") || !strings.Contains(events[0].Message, "and 25 more") {
			t.Errorf("got %q, want how many and which", events[0].Message)
		}
		w.serve("ghcr.io", "sha256:one", nil)
		pass(5 * time.Minute)
		wantEvents(t, w, "trouble images of ghcr.io", "mended images of ghcr.io")

		w.serve("ghcr.io/acme/app-3:1", "", agent.Permanent(errors.New("ghcr.io has no such image")))
		pass(time.Hour)
		wantEvents(t, w, "trouble images of ghcr.io", "mended images of ghcr.io", "trouble image ghcr.io/acme/app-3:1")
	})
}

func TestManyRefusedImagesThatNobodyNeedsAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("ghcr.io", "", agent.Permanent(errors.New("ghcr.io refused: 401 Unauthorized")))
		for n := range 4 {
			w.Set(fmt.Sprintf("service-%d", n), []string{fmt.Sprintf("ghcr.io/acme/app-%d:1", n)})
		}
		pass(10 * time.Minute)
		for n := range 4 {
			w.Remove(fmt.Sprintf("service-%d", n))
		}
		pass(3 * time.Hour)
		wantEvents(t, w, "trouble images of ghcr.io", "mended images of ghcr.io")
	})
}
