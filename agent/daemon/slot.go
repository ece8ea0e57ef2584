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
	restartFirst   = time.Second // after a worker failed or panicked
	restartLongest = 2 * time.Minute
	letGoAfter     = 5 * time.Minute // a service that is taken out by mistake comes back
)

// slot is one service name. At most one worker has it in hand at any time; what
// the config says now is what comes next. It outlives its entry in the config for
// as long as a deployment is open.
type slot struct {
	name string
	next chan present // room for one: the newest counts

	// Guarded by Daemon.mu.
	now    present
	worker *deploy.Worker // the one that runs; nil for none
	disabled
}

// present is what the config says of a name: a service, faults that disable it,
// or, with neither, nothing.
type present struct {
	svc    *agent.Service
	broken *config.Broken
}

func (p present) gone() bool { return p.svc == nil && p.broken == nil }

// put hands the slot what the config says now.
func (s *slot) put(p present) {
	for {
		select {
		case s.next <- p:
			return
		case <-s.next: // an older one that nobody has taken yet
		}
	}
}

// generation is one run of one worker.
type generation struct {
	worker  *deploy.Worker
	svc     agent.Service
	began   time.Time
	retired bool
	done    chan error
}

// keep runs a slot until ctx ends, or until its service is gone and let go.
func (d *Daemon) keep(ctx context.Context, s *slot) {
	var run *generation
	var done <-chan error
	pause, again := restartFirst, time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			if run != nil {
				<-run.done
			}
			return
		case p := <-s.next:
			d.take(s, p)
			if run == nil {
				again.Reset(d.until(s, nil, 0))
			} else if p.svc == nil || !reflect.DeepEqual(*p.svc, run.svc) {
				run.retired = true
				run.worker.Retire()
			}
		case err := <-done:
			pause = d.ended(ctx, s, run, err, pause)
			run, done = nil, nil
			d.hand(s, nil)
			d.images.Remove(s.name) // its successor names its own
			again.Reset(d.until(s, err, pause))
		case <-again.C:
			switch p := d.told(s); {
			case run != nil:
			case p.svc != nil:
				run = d.start(ctx, s, *p.svc)
				done = run.done
			case p.gone():
				if d.letGo(ctx, s) {
					return
				}
			}
		}
	}
}

// until is how long the slot rests after a worker has ended.
func (d *Daemon) until(s *slot, err error, pause time.Duration) time.Duration {
	switch {
	case d.told(s).gone():
		return letGoAfter
	case err != nil:
		return pause
	}
	return 0
}

// ended tells why a worker ended, and returns how long to wait before the next
// one: longer each time, unless it had worked for a while.
func (d *Daemon) ended(ctx context.Context, s *slot, run *generation, err error, pause time.Duration) time.Duration {
	if err == nil || ctx.Err() != nil {
		return restartFirst
	}
	if time.Since(run.began) > restartLongest {
		pause = restartFirst
	}
	d.log.Error("service failed and is started again", "service", s.name, "error", err, "after", pause)
	d.tell(s.name, agent.ReasonPanic, "the service failed and is started again: "+firstLine(err), agent.SeverityCritical)
	return min(2*pause, restartLongest)
}

func (d *Daemon) start(ctx context.Context, s *slot, svc agent.Service) *generation {
	run := &generation{worker: d.newWorker(svc), svc: svc, began: time.Now(), done: make(chan error, 1)}
	d.hand(s, run.worker)
	d.workers.Go(func() { run.done <- contained(func() error { return run.worker.Run(ctx) }) })
	return run
}

func (d *Daemon) take(s *slot, p present) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.now = p
}

func (d *Daemon) told(s *slot) present {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.now
}

func (d *Daemon) hand(s *slot, w *deploy.Worker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.worker = w
}

// letGo drops what the agent kept for a service that is no longer its business.
// What runs goes on running. The slot is over, unless the service came back at the
// last moment.
func (d *Daemon) letGo(ctx context.Context, s *slot) bool {
	d.mu.Lock()
	if len(s.next) > 0 {
		d.mu.Unlock()
		return false
	}
	last, known := d.lastKnown[s.name]
	delete(d.slots, s.name)
	delete(d.lastKnown, s.name)
	d.mu.Unlock()
	d.watcher.Remove(s.name)
	d.images.Remove(s.name)
	d.endTroubles(s.name)
	if !known {
		return true
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("letting go took too long"))
	defer cancel()
	if err := d.targets[last.Target].Retain(ctx, last, nil); err != nil {
		d.log.Warn("images of a removed service could not be let go", "service", s.name, "error", err)
	}
	return true
}

func contained(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
