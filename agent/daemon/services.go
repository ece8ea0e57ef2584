package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/deploy"
)

const (
	mendInterval   = 5 * time.Second // how often a service whose files are missing is looked at again
	restartFirst   = time.Second     // after a worker failed or panicked
	restartLongest = 2 * time.Minute
	configWatch    = "\x00config" // no service can have this name
)

var errStopped = errors.New("the agent is stopping")

// running is one service of the config: either a worker in its goroutine, or the
// faults that disable it.
type running struct {
	svc    agent.Service
	broken *config.Broken
	worker *deploy.Worker
	done   chan struct{} // closed when the worker has ended for good
	before *running      // whose open deployment has to end before the worker begins
}

// current is the worker that has the service in hand now. The lock is held.
func (s *running) current() *deploy.Worker {
	if s.before == nil {
		return s.worker
	}
	select {
	case <-s.before.done:
		return s.worker
	default:
		return s.before.current()
	}
}

// runServices starts what the config has, then waits for the end and for every
// worker's.
func (d *Daemon) runServices(ctx context.Context) error {
	d.adjust(ctx, d.config)
	d.watcher.Set(configWatch, d.config.Files, 0)
	for {
		select {
		case <-ctx.Done():
			d.workers.Wait()
			return context.Cause(ctx)
		case cfg := <-d.reload:
			d.adjust(ctx, cfg)
			d.watcher.Set(configWatch, cfg.Files, 0)
			if err := d.rememberConfig(); err != nil {
				d.log.Error("the config in use cannot be remembered", "error", err)
			}
		}
	}
}

// adjust starts, replaces and retires workers until they are what cfg says. A
// deployment in hand ends under the config that began it.
func (d *Daemon) adjust(ctx context.Context, cfg *config.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := map[string]bool{}
	for _, svc := range cfg.Services {
		wanted[svc.Name] = true
		d.ensure(ctx, svc)
	}
	for name, broken := range cfg.Broken {
		wanted[name] = true
		d.disable(ctx, name, broken)
	}
	for name, s := range d.services {
		if !wanted[name] {
			delete(d.services, name)
			d.retire(ctx, s, func() { d.letGo(ctx, s.svc) })
		}
	}
	d.config = cfg
}

// ensure has a worker for a service. The lock is held.
func (d *Daemon) ensure(ctx context.Context, svc agent.Service) {
	old := d.services[svc.Name]
	if old != nil && old.broken == nil && reflect.DeepEqual(old.svc, svc) {
		return
	}
	s := &running{svc: svc, worker: d.worker(svc), done: make(chan struct{})}
	d.services[svc.Name] = s
	start := func() { d.workers.Go(func() { d.supervise(ctx, s) }) }
	if old == nil || old.worker == nil {
		start()
		return
	}
	s.before = old
	d.retire(ctx, old, start)
}

// disable keeps a service with faults from deploying anything. The lock is held.
func (d *Daemon) disable(ctx context.Context, name string, broken config.Broken) {
	old := d.services[name]
	d.services[name] = &running{svc: broken.Service, broken: &broken}
	if old == nil || old.broken == nil {
		for _, f := range broken.Faults {
			d.log.Error("service is disabled", "service", name, "fault", f.String(), "hint", f.Hint)
		}
	}
	if old != nil {
		d.retire(ctx, old, func() {})
	}
}

// retire lets a worker's open deployment end, then does what comes next.
func (d *Daemon) retire(ctx context.Context, s *running, next func()) {
	if s.worker == nil {
		next()
		return
	}
	d.watcher.Remove(s.svc.Name)
	s.worker.Retire()
	d.workers.Go(func() {
		select {
		case <-s.done:
			next()
		case <-ctx.Done():
		}
	})
}

// supervise keeps a worker running. What fails, or panics, is tried again with
// growing patience; its open deployment goes on from its record.
func (d *Daemon) supervise(ctx context.Context, s *running) {
	defer close(s.done)
	for pause := restartFirst; ; pause = min(2*pause, restartLongest) {
		began := time.Now()
		err := contained(func() error { return s.worker.Run(ctx) })
		if ctx.Err() != nil || err == nil {
			return // the agent stops, or the worker was retired
		}
		d.log.Error("service failed and is started again", "service", s.svc.Name, "error", err, "after", pause)
		d.tellFailure(s.svc.Name, err)
		if time.Since(began) > restartLongest {
			pause = restartFirst
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		d.mu.Lock()
		s.worker = d.worker(s.svc)
		if d.services[s.svc.Name] != s {
			s.worker.Retire()
		}
		d.mu.Unlock()
	}
}

func contained(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

func (d *Daemon) tellFailure(service string, cause error) {
	_, err := d.store.Record(agent.Entry{Event: &agent.Event{
		At: time.Now(), Kind: agent.EventAgent, Service: service, Reason: agent.ReasonPanic, Message: cause.Error(), Severity: agent.SeverityCritical,
	}})
	if err != nil {
		d.log.Error("recording a failure", "service", service, "error", err)
	}
}

// letGo drops what the agent kept for a service that is no longer its business.
// What runs goes on running.
func (d *Daemon) letGo(ctx context.Context, svc agent.Service) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("letting go took too long"))
	defer cancel()
	if t := d.targets[svc.Target]; t != nil {
		if err := t.Retain(ctx, svc, nil); err != nil {
			d.log.Warn("images of a removed service could not be let go", "service", svc.Name, "error", err)
		}
	}
}

// mend looks again at services whose own config is fine and whose files are not:
// they come and go without the config changing.
func (d *Daemon) mend(ctx context.Context) error {
	ticker := time.NewTicker(mendInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if d.mended() {
				d.Reload()
			}
		}
	}
}

func (d *Daemon) mended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.services {
		if s.broken != nil && s.broken.Mendable && len(d.config.Check(s.svc)) == 0 {
			return true
		}
	}
	return false
}
