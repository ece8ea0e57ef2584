package watch

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

const emfile = syscall.EMFILE

func TestQuietTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	after := func(d time.Duration) time.Time { return start.Add(d) }
	s := &service{debounce: 300 * time.Millisecond}
	if got := s.due(); !got.IsZero() {
		t.Errorf("got %s without an event, want never", got)
	}
	s.touch("files", start)
	if got, want := s.due(), after(300*time.Millisecond); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.touch("files", after(200*time.Millisecond))
	if got, want := s.due(), after(500*time.Millisecond); got != want {
		t.Errorf("got %s, want the quiet time anew, %s", got, want)
	}
	s.touch("rescan", after(2900*time.Millisecond))
	if got, want := s.due(), after(3*time.Second); got != want || s.cause != "files" {
		t.Errorf("got %s because of %s, want ten times the quiet time at most, %s", got, s.cause, want)
	}
}

// A file that is written all the time is reported all the same.
func TestNeverQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "compose.yml")
		w := New(slog.New(slog.DiscardHandler), 0, func(agent.Change) {})
		w.Set("web", []string{file}, 300*time.Millisecond)
		began := time.Now()
		for time.Since(began) < 2900*time.Millisecond {
			w.touchAll()
			time.Sleep(100 * time.Millisecond)
		}
		<-w.due()
		if got := time.Since(began); got != 3*time.Second {
			t.Errorf("got a look after %s, want it after 3 s", got)
		}
	})
}

func (w *Watcher) touchAll() {
	for _, s := range w.services {
		s.touch("files", time.Now())
	}
}

// fullKernel has no room for the directory refused.
type fullKernel struct {
	refused string
	err     error
}

func (k *fullKernel) Add(path string) error {
	if path == k.refused {
		return fmt.Errorf("adding %s: %w", path, k.err)
	}
	return nil
}

func (k *fullKernel) Remove(string) error { return nil }

func TestExhaustedWatchesAreAProblemOfThatService(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	full := &fullKernel{refused: bad, err: syscall.ENOSPC}
	w := New(slog.New(slog.DiscardHandler), 0, func(agent.Change) {})
	w.kernel = full
	w.Set("good", []string{filepath.Join(good, "compose.yml")}, quiet)
	w.Set("bad", []string{filepath.Join(bad, "compose.yml")}, quiet)
	problems := w.Problems()
	if len(problems) != 1 || !strings.Contains(agent.Hint(problems["bad"]), "max_user_watches") {
		t.Errorf("got %v, want the limit named for the bad one", problems)
	}
	full.refused = ""
	w.look()
	if problems := w.Problems(); len(problems) != 0 {
		t.Errorf("got %v after there was room, want none", problems)
	}
}

func TestUnreadableAncestorIsNoProblem(t *testing.T) {
	dir := t.TempDir()
	w := New(slog.New(slog.DiscardHandler), 0, func(agent.Change) {})
	w.kernel = &fullKernel{refused: filepath.Dir(dir), err: os.ErrPermission}
	w.Set("web", []string{filepath.Join(dir, "compose.yml")}, quiet)
	if problems := w.Problems(); len(problems) != 0 {
		t.Errorf("got %v, want none: the directory of the file is watched", problems)
	}
	w.kernel = &fullKernel{refused: dir, err: os.ErrPermission}
	w.look()
	if problems := w.Problems(); !errors.Is(problems["web"], os.ErrPermission) {
		t.Errorf("got %v, want the refused directory", problems)
	}
}

// A directory that is mounted in two places has one watch, which reports the
// first path only.
func TestField22MountedInTwoPlaces(t *testing.T) {
	dir := t.TempDir()
	w := New(slog.New(slog.DiscardHandler), 0, func(agent.Change) {})
	w.kernel = &fullKernel{}
	w.Set("web", []string{filepath.Join(dir, "compose.yml")}, quiet)
	w.watched["/mnt/first"] = w.watched[dir]
	w.note("/mnt/first/other.yml", time.Now())
	if !w.services["web"].first.IsZero() {
		t.Error("got a touch by another name, want none")
	}
	w.note("/mnt/first/compose.yml", time.Now())
	if w.services["web"].first.IsZero() {
		t.Error("got no touch through the other path, want one")
	}
}

func TestContent(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("a"), "x")
	write(t, path("b"), "x")
	write(t, path("c"), "")
	if err := syscall.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content(path("a")) != content(path("b")) || content(path("a")) == content(path("c")) {
		t.Error("got hashes that do not follow the content")
	}
	for name, want := range map[string]string{"none": "absent", "a/b": "absent", "pipe": "special: p"} {
		if got := content(path(name)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
