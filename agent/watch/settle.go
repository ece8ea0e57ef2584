package watch

import (
	"maps"
	"path/filepath"
	"slices"
	"time"

	"rollback-agent/agent"
)

// note remembers that something happened at path, for every service that it
// matters to.
func (w *Watcher) note(path string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir, name := filepath.Split(path)
	at := w.watched[filepath.Clean(dir)]
	for _, s := range w.services {
		if s.spots[spot{at, name}] || s.spots[spot{at, anyName}] {
			s.touch("files", now)
		}
	}
}

func (s *service) touch(cause string, now time.Time) {
	if s.first.IsZero() {
		s.first, s.cause = now, cause
	}
	s.last = now
}

// due returns a channel that fires when the first service has been quiet for
// long enough; nil when none waits.
func (w *Watcher) due() <-chan time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next time.Time
	for _, s := range w.services {
		if at := s.due(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

func (s *service) due() time.Time {
	if s.first.IsZero() {
		return time.Time{}
	}
	quiet, limit := s.last.Add(s.debounce), s.first.Add(patience*s.debounce)
	if quiet.After(limit) {
		return limit
	}
	return quiet
}

// settle compares the files of every service that is due, and reports.
func (w *Watcher) settle(now time.Time) {
	var changes []agent.Change
	w.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(w.services)) {
		s := w.services[name]
		if at := s.due(); at.IsZero() || at.After(now) {
			continue
		}
		cause := s.cause
		s.first, s.last, s.cause = time.Time{}, time.Time{}, ""
		w.place(name, s)
		if paths := s.changed(true); len(paths) > 0 {
			changes = append(changes, agent.Change{Service: name, At: now, Cause: cause, Paths: paths})
		}
	}
	w.release()
	w.mu.Unlock()
	for _, change := range changes {
		w.log.Debug("files changed", "service", change.Service, "cause", change.Cause, "paths", change.Paths)
		w.report(change)
	}
}

// look compares everything without a word of the kernel, and places every watch
// anew: one may be on a directory that is gone, or hidden by a mount.
func (w *Watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, s := range w.services {
		w.place(name, s)
		if len(s.changed(false)) > 0 {
			s.touch("rescan", time.Now())
		}
	}
	w.release()
}

// changed returns the files that hold something else than what is known.
func (s *service) changed(learn bool) []string {
	var paths []string
	for _, file := range s.files {
		now := content(file)
		if now == s.known[file] {
			continue
		}
		paths = append(paths, file)
		if learn {
			s.known[file] = now
		}
	}
	return paths
}
