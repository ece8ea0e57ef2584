// Package compose is the compose target: it makes the services of a compose
// project serve, with the official Compose SDK, in process.
//
// Its one promise: what it deploys is exactly the model that the files describe,
// run from the very image that was wanted, and what served before stays on the
// host, restorable, until the core says otherwise. A human who runs
// `docker compose up -d` afterwards finds nothing to change.
//
// It does not decide anything: no health is judged here and nothing is rolled
// back. It builds no images, follows no remote include, reads no environment of
// its own process, and never prunes a host.
package compose

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"rollback-agent/agent"
	"rollback-agent/agent/target"
)

var _ target.Target = (*Target)(nil)

// Options say how the target reaches what it needs.
type Options struct {
	// DockerConfig is Docker's config.json, or its directory: where logins and
	// credential helpers stand. "" is Docker's own default.
	DockerConfig string
	// Log gets what the SDK would have printed. nil discards it.
	Log *slog.Logger
}

// Target is the compose target. It is safe for concurrent use.
type Target struct {
	options Options
	log     *slog.Logger
	locks   locks // one per compose project and one per local tag
	strays  strays
	space   func(dir string) (space, error)
	born    time.Time

	mu      sync.Mutex
	engines map[string]*engine  // by docker host
	known   map[string]identity // by service: who it was when last loaded
	loads   map[string]cached   // by service: the last load
	cut     map[string]bool     // projects whose last Up did not end well
}

// New returns a target that has not spoken to anybody yet. The SDK's global
// logger is led to options.Log: nothing of it reaches the terminal.
func New(options Options) *Target {
	log := options.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	silence(log)
	return &Target{
		options: options,
		log:     log,
		space:   spaceOf,
		born:    time.Now(),
		engines: map[string]*engine{},
		known:   map[string]identity{},
		loads:   map[string]cached{},
		cut:     map[string]bool{},
	}
}

// Close lets go of the connections to the engines.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, e := range t.engines {
		errs = append(errs, e.client.Close())
	}
	clear(t.engines)
	return errors.Join(errs...)
}

// Describe says that the compose target replaces a service as a whole.
func (t *Target) Describe(context.Context) (target.Kind, error) {
	return target.Kind{Name: "compose"}, nil
}

// remember keeps who a service was, for the moments when its files are broken.
func (t *Target) remember(svc agent.Service, id identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[svc.Name] = id
}

func (t *Target) recall(svc agent.Service) (identity, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.known[svc.Name]
	return id, ok && id.matches(svc)
}

// setCut notes whether the last Up of a project was cut off.
func (t *Target) setCut(project string, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut[project] = cut
}

func (t *Target) wasCut(project string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cut[project]
}

// silence leads the SDK's logger, which is global, to ours.
func silence(log *slog.Logger) {
	logger := logrus.StandardLogger()
	logger.SetOutput(io.Discard)
	logger.ReplaceHooks(logrus.LevelHooks{})
	logger.AddHook(sdkLog{log})
}

// sdkLog is a hook of the SDK's logger.
type sdkLog struct{ log *slog.Logger }

func (sdkLog) Levels() []logrus.Level { return logrus.AllLevels }

// Fire writes at debug level: what deserves a word is reported by other means.
func (s sdkLog) Fire(entry *logrus.Entry) error {
	s.log.Debug("compose sdk says", "message", entry.Message, "sdk_level", entry.Level.String())
	return nil
}

// locks are mutexes by name, which give up with their caller's context.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock blocks until nobody else holds the name.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	slot := l.slot(name)
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// try takes the name only if nobody else holds it.
func (l *locks) try(name string) (unlock func(), ok bool) {
	slot := l.slot(name)
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, true
	default:
		return nil, false
	}
}

func (l *locks) slot(name string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	if l.held[name] == nil {
		l.held[name] = make(chan struct{}, 1)
	}
	return l.held[name]
}
