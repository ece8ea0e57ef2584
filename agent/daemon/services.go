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

var (
	errStopped = errors.New("the agent is stopping")
	errRemoved = errors.New("the service was taken out of the config")
)

// running is one service of the config: either a worker in its goroutine, or the
// faults that disable it.
type running struct {
	svc    agent.Service
	broken *config.Broken
	worker *deploy.Worker
	stop   context.CancelCauseFunc
	done   chan struct{}
}

// runServices starts what the config has, then waits for the end and for every
// worker's.
func (d *Daemon) runServices(ctx context.Context) error {
	d.adjust(ctx, d.config)
	d.watcher.Set(configWatch, d.config.Files, 0)
	for {
		select {
		case <-ctx.Done():
			d.stopAll()
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

// adjust starts, restarts and stops workers until they are what cfg says. A
// deployment in hand goes on under the config that began it.
func (d *Daemon) adjust(ctx context.Context, cfg *config.Config) {
	wanted := map[string]bool{}
	for _, svc := range cfg.Services {
		wanted[svc.Name] = true
		d.ensure(ctx, svc)
	}
	for name, broken := range cfg.Broken {
		wanted[name] = true
		d.disable(name, broken)
	}
	d.mu.Lock()
	var gone []*running
	for name, s := range d.services {
		if !wanted[name] {
			gone = append(gone, s)
			delete(d.services, name)
		}
	}
	d.config = cfg
	d.mu.Unlock()
	for _, s := range gone {
		d.end(s, errRemoved)
		d.letGo(ctx, s.svc)
	}
}

func (d *Daemon) ensure(ctx context.Context, svc agent.Service) {
	d.mu.Lock()
	old := d.services[svc.Name]
	d.mu.Unlock()
	if old != nil && old.broken == nil && reflect.DeepEqual(old.svc, svc) {
		return
	}
	if old != nil {
		d.end(old, errRemoved)
	}
	wctx, cancel := context.WithCancelCause(ctx)
	s := &running{svc: svc, worker: d.worker(svc), stop: cancel, done: make(chan struct{})}
	d.mu.Lock()
	d.services[svc.Name] = s
	d.mu.Unlock()
	go d.supervise(wctx, s)
}

func (d *Daemon) disable(name string, broken config.Broken) {
	d.mu.Lock()
	old := d.services[name]
	d.services[name] = &running{svc: broken.Service, broken: &broken}
	d.mu.Unlock()
	if old == nil || old.broken == nil {
		for _, f := range broken.Faults {
			d.log.Error("service is disabled", "service", name, "fault", f.String(), "hint", f.Hint)
		}
	}
	if old != nil {
		d.end(old, errRemoved)
	}
}

// supervise keeps a worker running. What fails, or panics, is tried again with
// growing patience; its open deployment goes on from its record.
func (d *Daemon) supervise(ctx context.Context, s *running) {
	defer close(s.done)
	for pause := restartFirst; ; pause = min(2*pause, restartLongest) {
		began := time.Now()
		err := contained(func() error { return s.worker.Run(ctx) })
		if ctx.Err() != nil {
			return
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

func (d *Daemon) end(s *running, cause error) {
	d.watcher.Remove(s.svc.Name)
	if s.worker == nil {
		return
	}
	s.stop(cause)
	<-s.done
}

func (d *Daemon) stopAll() {
	d.mu.Lock()
	all := make([]*running, 0, len(d.services))
	for _, s := range d.services {
		all = append(all, s)
	}
	d.mu.Unlock()
	for _, s := range all {
		if s.worker != nil {
			s.stop(errStopped)
		}
	}
	for _, s := range all {
		if s.worker != nil {
			<-s.done
		}
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
