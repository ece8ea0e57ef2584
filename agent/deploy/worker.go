package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

const (
	lookTimeout     = 10 * time.Second // one look at the world
	diagnoseTimeout = 3 * time.Second
	lookMargin      = 5 * time.Second // for the first probe and event after a restart
	retryFirst      = 500 * time.Millisecond
	retryLongest    = 15 * time.Second
	invalidPatience = 3 * time.Second // a file may be half-written for this long
)

var (
	errLook         = errors.New("looking took too long")
	errDeadline     = errors.New("its deadline passed")
	errOvertaken    = errors.New("something newer is wanted")
	errUnresolvable = errors.New("resolving an image")
	errBefore       = errors.New("before_deploy")
	errNoTarget     = errors.New("there is no stable release to go back to")
	errEnded        = errors.New("the service is being stopped or started again")
)

// Worker owns one service: every deployment of it runs in the goroutine of Run,
// one at a time.
type Worker struct {
	Options
	svc agent.Service

	changes chan agent.Change
	orders  chan request
	seen    *mailbox
	samples chan agent.Sample
	ended   chan struct{} // closed when Run has returned

	// Owned by Run.
	record       agent.ServiceRecord
	serving      *agent.Release // with no snapshot
	picture      picture
	evidence     *judge.Evidence // of the release that serves, or is about to
	open         *cycle
	dirty        bool      // what is wanted may have changed
	cause        string    // of the last change
	pending      []request // orders that wait for a plan
	wanted       wantedState
	stopCritical func() // ends the probes after a failed rollback
	trouble      string // what keeps the worker from its work, for the status

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

// Run owns the service until ctx ends. A deployment that was under way goes on
// where its record says.
func (w *Worker) Run(ctx context.Context) error {
	defer w.end()
	if err := w.load(); err != nil {
		return err
	}
	svc := w.svc // the worker's own changes while a deployment ends under an older config
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.Target.Observe(ctx, svc, w.seen.put) })
	group.Go(func() error { return w.work(ctx) })
	return group.Wait()
}

// end answers everybody who still waits.
func (w *Worker) end() {
	close(w.ended)
	for _, r := range w.pending {
		r.refuse(errEnded)
	}
	w.pending = nil
}

func (w *Worker) load() error {
	record, err := w.Recorder.Service(w.svc.Name)
	if err != nil {
		return fmt.Errorf("loading the record of service %q: %w", w.svc.Name, err)
	}
	w.record = record
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

// work finishes what is open, then plans and deploys whenever there is news.
func (w *Worker) work(ctx context.Context) error {
	if err := w.resume(ctx); err != nil {
		return err
	}
	w.dirty, w.cause = true, "start"
	for {
		again, err := w.consider(ctx)
		if err != nil {
			return err
		}
		if w.dirty || len(w.pending) > 0 {
			continue
		}
		for !w.dirty && len(w.pending) == 0 && (again.IsZero() || time.Now().Before(again)) {
			if err := w.pump(ctx, sooner(again, w.recovery())); err != nil {
				return err
			}
			w.idleHealth(ctx)
			w.publish()
		}
		w.dirty = w.dirty || !again.IsZero() && !time.Now().Before(again)
	}
}

// pump waits for the next thing to happen, folds it in, and returns. A zero until
// waits for nothing else. It is the only place where the worker blocks.
func (w *Worker) pump(ctx context.Context, until time.Time) error {
	_, err := w.pumpOr(ctx, until, nil)
	return err
}

func (w *Worker) pumpOr(ctx context.Context, until time.Time, done <-chan error) (finished bool, err error) {
	var timeout <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case err := <-done:
		return true, err
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-w.seen.ready:
		for _, o := range w.seen.take() {
			w.fold(o)
		}
	case s := <-w.samples:
		if w.evidence != nil {
			w.evidence.Sample(s)
		}
	case change := <-w.changes:
		w.dirty, w.cause = true, change.Cause
	case r := <-w.orders:
		w.accept(ctx, r)
	case <-timeout:
	}
	w.publish()
	return false, nil
}

func (w *Worker) fold(o agent.Observation) {
	w.picture.fold(o)
	if w.evidence != nil {
		w.evidence.Observe(o)
	}
}

// during runs f while the pump goes on, and returns when f has returned. f has a
// goroutine of its own: it gives its results back and leaves the worker's fields
// to their owner. check is
// asked after every event; its error cancels f and is returned instead. check may
// be nil.
func (w *Worker) during(ctx context.Context, f func(context.Context) error, check func(context.Context) error) error {
	fctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- contained(fctx, f) }()
	var overruled error
	wait := context.WithoutCancel(ctx) // f honours ctx itself; its result is not thrown away
	for {
		finished, err := w.pumpOr(wait, time.Time{}, done)
		if finished {
			return errors.Join(overruled, err)
		}
		if overruled == nil && check != nil && ctx.Err() == nil {
			if overruled = check(ctx); overruled != nil {
				cancel(overruled)
			}
		}
	}
}

// turn waits for one of the host's slots, then runs f.
func (w *Worker) turn(ctx context.Context, slots chan struct{}, check func(context.Context) error, f func() error) error {
	err := w.during(ctx, func(ctx context.Context) error {
		select {
		case slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, check)
	if err != nil {
		return err
	}
	defer func() { <-slots }()
	return f()
}

// contained turns a panic below f into an error: it must not leave the service.
func contained(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f(ctx)
}

// persevere repeats f while the world does not answer, until the deadline. check
// is asked while it waits and while f runs.
func (w *Worker) persevere(ctx context.Context, deadline time.Time, f, check func(context.Context) error) error {
	dctx, cancel := context.WithDeadlineCause(ctx, deadline, errDeadline)
	defer cancel()
	for pause := retryFirst; ; pause = min(2*pause, retryLongest) {
		err := w.during(dctx, f, check)
		if err == nil || !worthRepeating(err) {
			return withCause(dctx, err)
		}
		w.trouble = err.Error()
		w.publish()
		if stop := w.rest(dctx, pause, check); stop != nil {
			return errors.Join(stop, err)
		}
		w.trouble = ""
	}
}

// again marks an error that a repetition may mend.
type again struct{ error }

func (a again) Unwrap() error { return a.error }

func worthRepeating(err error) bool {
	if agent.IsPermanent(err) || errors.Is(err, errOvertaken) {
		return false
	}
	_, marked := errors.AsType[again](err)
	return marked || errors.Is(err, agent.ErrUnreachable)
}

// withCause says that a deadline is why, where the error only says "cancelled".
func withCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}

// rest pumps for a while.
func (w *Worker) rest(ctx context.Context, pause time.Duration, check func(context.Context) error) error {
	for until := time.Now().Add(pause); time.Now().Before(until); {
		if err := w.pump(ctx, until); err != nil {
			return err
		}
		if check == nil {
			continue
		}
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// persist records an entry, and goes on trying while the disk refuses: nothing may
// be touched on an intent that is not written.
func (w *Worker) persist(ctx context.Context, entry agent.Entry) error {
	for pause := retryFirst; ; pause = min(2*pause, retryLongest) {
		written, err := w.Recorder.Record(entry)
		if err == nil {
			return w.written(entry, written)
		}
		w.Log.Error("the history cannot be written", "service", w.svc.Name, "error", err)
		w.trouble = "the history cannot be written: " + err.Error()
		w.publish()
		if err := w.rest(ctx, pause, nil); err != nil {
			return err
		}
	}
}

// written takes over what the store has accepted.
func (w *Worker) written(asked, got agent.Entry) error {
	w.trouble = ""
	if asked.Deployment != nil && got.Deployment != nil {
		*asked.Deployment = *got.Deployment
	}
	if got.Service == nil {
		return nil
	}
	moved := w.record.Serving != got.Service.Serving || len(got.Releases) > 0
	w.record = *got.Service
	if moved {
		return w.loadServing()
	}
	return nil
}

// startProbes runs the service's own probes until stop is called.
func (w *Worker) startProbes(svc agent.Service) (stop func()) {
	if w.Probe == nil || len(svc.Health.Gates()) == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Probe(ctx, svc, func(s agent.Sample) {
			select {
			case w.samples <- s:
			case <-ctx.Done():
			}
		})
	}()
	return func() { cancel(); <-done }
}
