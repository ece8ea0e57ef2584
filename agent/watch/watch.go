// Package watch tells when what is wanted of a service may have changed: its files
// have other content than before ([Watcher]), or its images another digest
// ([Images]). One [agent.Change] for each, however the editor saves and whoever
// pushed.
//
// Its one promise: a change that stays is noticed. Of files, within the quiet time
// of the service where the kernel tells, else at the next rescan; of images, at the
// next poll that their registry answers. What leaves the content as it was is never
// reported.
//
// It watches directories, not files, along every link that leads to a file:
// files are replaced by rename, swapped by link, deleted and made again. It does
// not parse what it reads and does not know what a compose file is.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"rollback-agent/agent"
)

// DefaultRescan is the time between two looks that need no word of the kernel.
const DefaultRescan = 30 * time.Second

// patience is how many times its quiet time a service waits for a directory that
// is never quiet.
const patience = 10

// Watcher watches the files of any number of services.
type Watcher struct {
	log    *slog.Logger
	rescan time.Duration
	report func(agent.Change)
	open   func() (*fsnotify.Watcher, error)

	mu       sync.Mutex
	services map[string]*service
	kernel   kernel // nil while Run does not run, or where there is none
	missing  error  // why there is none
	watched  map[string]identity
}

// kernel is the part of fsnotify that places watches on directories.
type kernel interface {
	Add(path string) error
	Remove(path string) error
}

// service is what is known of one service's files.
type service struct {
	files    []string
	debounce time.Duration
	known    map[string]string // what each file held when last looked at
	spots    map[spot]bool     // whose events matter
	problem  error             // why events may be missing

	first, last time.Time // of the events that are not settled; zero: none
	cause       string
}

// New returns a Watcher that calls report for each change, from one goroutine;
// report must not block for long and may call Set and Remove. rescan 0 is
// [DefaultRescan].
func New(log *slog.Logger, rescan time.Duration, report func(agent.Change)) *Watcher {
	if rescan <= 0 {
		rescan = DefaultRescan
	}
	return &Watcher{
		log: log, rescan: rescan, report: report, open: fsnotify.NewWatcher,
		services: map[string]*service{}, watched: map[string]identity{},
	}
}

// Set names the files of a service, absent ones that would count included; a
// directory among them counts by the names in it. A file that was named before
// is compared with what it held then; one that is new counts from now on.
// added tells that there is one: whoever has read it before should read again.
func (w *Watcher) Set(name string, files []string, debounce time.Duration) (added bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.services[name]
	if !ok {
		s = &service{known: map[string]string{}}
		w.services[name] = s
	}
	s.debounce = debounce
	s.files = make([]string, 0, len(files))
	for _, file := range files {
		s.files = append(s.files, filepath.Clean(file))
	}
	w.place(name, s)
	maps.DeleteFunc(s.known, func(file, _ string) bool { return !slices.Contains(s.files, file) })
	for _, file := range s.files {
		if _, known := s.known[file]; !known {
			s.known[file], added = content(file), true
		}
	}
	w.release()
	return added
}

// Remove forgets a service.
func (w *Watcher) Remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.services, name)
	w.release()
}

// Problems returns, by service, why its changes may be noticed at the next
// rescan only. Its errors have hints.
func (w *Watcher) Problems() map[string]error {
	w.mu.Lock()
	defer w.mu.Unlock()
	problems := map[string]error{}
	for name, s := range w.services {
		if s.problem != nil {
			problems[name] = s.problem
		}
	}
	return problems
}

// Run watches until ctx ends. Services may be set before and while it runs.
func (w *Watcher) Run(ctx context.Context) error {
	notify := w.connect()
	defer func() { notify.close() }()
	ticker := time.NewTicker(w.rescan)
	defer ticker.Stop()
	w.look()
	for {
		due := w.due()
		select {
		case <-ctx.Done():
			return nil
		case event := <-notify.events:
			w.note(event.Name, time.Now())
		case <-notify.lost:
			w.look()
		case <-ticker.C:
			if notify.events == nil {
				notify = w.connect()
			}
			w.look()
		case <-due:
			w.settle(time.Now())
		}
	}
}

// notifications are what the kernel says. They are not fsnotify's own channels:
// its errors must be drained by somebody who waits for nothing else.
type notifications struct {
	events <-chan fsnotify.Event // nil where there are none
	lost   <-chan struct{}
	close  func()
}

// connect opens the kernel's notifications. Without them the rescan is left, and
// tries again.
func (w *Watcher) connect() notifications {
	watcher, err := w.open()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.missing == nil {
			w.log.Warn("files are watched by rescans only", "error", err)
		}
		w.missing = w.explain(err)
		return notifications{close: func() {}}
	}
	w.kernel, w.missing = watcher, nil
	lost := make(chan struct{}, 1)
	var drain sync.WaitGroup
	drain.Go(func() { w.drain(watcher.Errors, lost) })
	return notifications{watcher.Events, lost, func() {
		w.disconnect(watcher)
		drain.Wait()
	}}
}

func (w *Watcher) disconnect(watcher *fsnotify.Watcher) {
	w.mu.Lock()
	w.kernel, w.watched = nil, map[string]identity{}
	w.mu.Unlock()
	if err := watcher.Close(); err != nil {
		w.log.Warn("closing the file watcher", "error", err)
	}
}

// drain takes any error for a sign that events were lost: most often the kernel's
// queue ran over.
func (w *Watcher) drain(from <-chan error, lost chan<- struct{}) {
	for err := range from {
		w.log.Warn("file events were lost", "error", err)
		select {
		case lost <- struct{}{}:
		default: // a look is due already
		}
	}
}

// explain puts into words what the kernel refused.
func (w *Watcher) explain(err error) error {
	return agent.WithHint(fmt.Errorf("changes of files are noticed within %s only: %w", w.rescan, err), hint(err))
}
