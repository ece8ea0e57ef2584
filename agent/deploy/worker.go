package deploy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// Worker owns one service: every deployment of it runs in the goroutine of Run,
// one at a time.
type Worker struct {
	Options
	svc agent.Service

	changes chan agent.Change
	orders  chan request
	retire  chan struct{}
	seen    *mailbox
	samples chan agent.Sample
	ended   chan struct{} // closed when Run has returned

	// Owned by Run.
	record       agent.ServiceRecord
	serving      *agent.Release // with no snapshot
	picture      picture
	evidence     *judge.Evidence // of the release that serves, or is about to
	open         *cycle
	last         int64     // the newest deployment
	dirty        bool      // what is wanted may have changed
	lookAgain    time.Time // when to look although nothing changed: the last look failed
	waiting      bool      // something newer waits for the open deployment
	retired      bool      // no more plans: Run ends with the open deployment
	cause        string    // of the last change
	pending      []request // orders that wait for a plan
	wanted       wantedState
	stopCritical func() // ends the probes after a failed rollback
	trouble      string // what keeps the worker from its work, for the status
	advice       string // what a human can do about it

	mu     sync.Mutex
	status agent.Status // published after every step
}

// New makes the worker of a service. It does nothing until Run.
func New(svc agent.Service, options Options) *Worker {
	return &Worker{
		Options: options,
		svc:     svc,
		changes: make(chan agent.Change, 1),
		orders:  make(chan request),
		retire:  make(chan struct{}, 1),
		seen:    newMailbox(),
		samples: make(chan agent.Sample),
		ended:   make(chan struct{}),
		status:  agent.Status{Service: svc.Name, Target: svc.Target, State: "starting", Healthy: "unknown"},
	}
}

// Changed tells the worker that something else may be wanted now. It never
// blocks: changes that come faster than they are looked at are one.
func (w *Worker) Changed(change agent.Change) {
	select {
	case w.changes <- change:
	default:
	}
}

// Retire lets the open deployment end under the config that began it, and then
// Run. It never blocks.
func (w *Worker) Retire() {
	select {
	case w.retire <- struct{}{}:
	default:
	}
}

// Run owns the service until ctx ends, or until nothing is open after Retire. A
// deployment that was under way goes on where its record says, under the config
// that began it.
func (w *Worker) Run(ctx context.Context) error {
	defer w.end()
	if err := w.load(); err != nil {
		return err
	}
	dep, open, err := w.unfinished()
	if err != nil {
		return err
	}
	if open && !reflect.DeepEqual(dep.Config, w.svc) {
		present := w.svc
		w.svc = dep.Config
		err := w.serve(ctx, func(ctx context.Context) error { return w.finish(ctx, dep) })
		if err != nil {
			return err
		}
		w.svc, w.picture, w.evidence, open = present, picture{}, nil, false
	}
	return w.serve(ctx, func(ctx context.Context) error {
		if open {
			if err := w.finish(ctx, dep); err != nil {
				return err
			}
		}
		return w.work(ctx)
	})
}

// serve observes the service while do works on it.
func (w *Worker) serve(ctx context.Context, do func(context.Context) error) error {
	svc := w.svc
	group, gctx := errgroup.WithContext(ctx)
	gctx, stop := context.WithCancel(gctx)
	defer stop()
	group.Go(func() error { return contained(gctx, func(ctx context.Context) error { return w.observe(ctx, svc) }) })
	group.Go(func() error {
		defer stop()
		return contained(gctx, do)
	})
	err := group.Wait()
	w.endCritical()
	return err
}

// observe keeps the target's observations coming. A target that cannot see is no
// reason to stop: facts are lost until it can.
func (w *Worker) observe(ctx context.Context, svc agent.Service) error {
	for pause := retryFirst; ; pause = min(2*pause, retryLongest) {
		err := w.Target.Observe(ctx, svc, w.seen.put)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("the target stopped observing")
		}
		w.Log.Warn("the service cannot be observed", "service", svc.Name, "error", err)
		w.seen.put(agent.Observation{Kind: agent.ObservedLost, Detail: err.Error()})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (w *Worker) load() error {
	record, err := w.Recorder.Service(w.svc.Name)
	if err != nil {
		return fmt.Errorf("loading the record of service %q: %w", w.svc.Name, err)
	}
	w.record = record
	w.wanted.told = record.Invalid
	return w.loadServing()
}

func (w *Worker) loadServing() error {
	w.serving = nil
	if w.record.Serving == 0 {
		return nil
	}
	rel, err := w.Recorder.Release(w.svc.Name, w.record.Serving)
	if err != nil {
		return fmt.Errorf("loading release %s of service %q: %w", agent.ReleaseName(w.record.Serving), w.svc.Name, err)
	}
	rel.Snapshot = agent.Snapshot{} // megabytes that nobody needs while nothing happens
	w.serving = &rel
	return nil
}

// work plans and deploys whenever there is news.
func (w *Worker) work(ctx context.Context) error {
	w.watchServing()
	w.dirty, w.cause = true, "start"
	for cleaned := false; !w.isRetired(); {
		planAt, err := w.consider(ctx)
		if err != nil {
			return err
		}
		if !cleaned && !w.dirty { // what a process that is gone has left
			w.retain(ctx)
			cleaned = true
		}
		if err := w.idle(ctx, planAt); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) isRetired() bool {
	select {
	case <-w.retire:
		w.retired = true
	default:
	}
	return w.retired
}

// idle waits for news, an order, or the time to plan again.
func (w *Worker) idle(ctx context.Context, planAt time.Time) error {
	for !w.dirty && !w.retired && len(w.pending) == 0 {
		if !planAt.IsZero() && !time.Now().Before(planAt) {
			w.dirty = true
			return nil
		}
		if err := w.pump(ctx, sooner(planAt, w.recovery())); err != nil {
			return err
		}
		w.idleHealth(ctx)
		w.noticeOthers()
		w.publish()
	}
	return nil
}

// noticeOthers looks again soon when instances come up that are not what was
// deployed. A human's `up` takes a while.
func (w *Worker) noticeOthers() {
	if w.serving != nil && w.picture.suspicious(w.serving) {
		w.picture.cleared = w.picture.version
		w.lookAgain = time.Now().Add(settleTime)
	}
}

// end answers everybody who still waits.
func (w *Worker) end() {
	close(w.ended)
	for _, r := range w.pending {
		r.refuse(errEnded)
	}
	w.pending = nil
}
