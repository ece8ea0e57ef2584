package deploy

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"rollback-agent/agent"
)

const (
	lookTimeout     = 10 * time.Second // one look at the world
	diagnoseTimeout = 3 * time.Second
	lookMargin      = 5 * time.Second // for the first probe and event after a restart
	retryFirst      = 500 * time.Millisecond
	retryLongest    = 15 * time.Second
	settleTime      = 3 * time.Second // for somebody else's changes to be over
	invalidPatience = 3 * time.Second // a file may be half-written for this long
)

var (
	errLook         = errors.New("looking took too long")
	errDeadline     = errors.New("its deadline passed")
	errOvertaken    = errors.New("something newer is wanted")
	errUnresolvable = errors.New("resolving an image")
	errBefore       = errors.New("before_deploy")
	errEnded        = errors.New("the service is being stopped or started again")
)

// pump waits for the next thing to happen, folds it in, and returns. A zero until
// waits for nothing else. It is the only place where the worker blocks.
func (w *Worker) pump(ctx context.Context, until time.Time) error {
	_, err := w.pumpOr(ctx, until, nil)
	return err
}

func (w *Worker) pumpOr(ctx context.Context, until time.Time, done <-chan error) (finished bool, err error) {
	var timeout <-chan time.Time
	if until = sooner(until, w.lookAgain); !until.IsZero() {
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
	case s := <-w.samples:
		if w.evidence != nil {
			w.evidence.Sample(s)
		}
	case change := <-w.changes:
		w.dirty, w.cause = true, change.Cause
	case r := <-w.orders:
		r.hide, r.order.Note = w.redact, w.redact(r.order.Note)
		w.accept(ctx, r)
	case <-w.retire:
		w.retired = true
	case <-timeout:
	}
	for _, o := range w.seen.take() { // whatever woke the worker: nothing is judged on an older picture
		w.fold(o)
	}
	if !w.lookAgain.IsZero() && !time.Now().Before(w.lookAgain) {
		w.dirty, w.lookAgain = true, time.Time{}
	}
	w.publish()
	return false, nil
}

// fold takes a fact in. It happened when it was heard of: the engine may have
// another clock.
func (w *Worker) fold(o agent.Observation) {
	o.At = time.Now()
	w.picture.fold(o)
	if w.evidence != nil {
		w.evidence.Observe(o)
	}
}

// during runs f while the pump goes on, and returns when f has returned. f has a
// goroutine of its own: it gives its results back and leaves the worker's fields
// to their owner. check, if any, is asked after every event; its error cancels f
// and is returned with f's.
func (w *Worker) during(ctx context.Context, f, check func(context.Context) error) error {
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

// contained turns a panic below f into an error: it must not leave the service.
func contained(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx)
}

func take(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// slotted makes f wait for one of the host's slots.
func slotted(slots chan struct{}, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := take(ctx, slots); err != nil {
			return err
		}
		defer func() { <-slots }()
		return f(ctx)
	}
}

// persevere repeats f while a repetition may help, until the deadline. check is
// asked while it waits and while f runs.
func (w *Worker) persevere(ctx context.Context, deadline time.Time, f, check func(context.Context) error) error {
	dctx, cancel := context.WithDeadlineCause(ctx, deadline, errDeadline)
	defer cancel()
	for pause := retryFirst; ; pause = min(2*pause, retryLongest) {
		err := w.during(dctx, f, check)
		if err == nil || !worthRepeating(err) {
			w.trouble = ""
			return withCause(dctx, err)
		}
		w.trouble = err.Error()
		w.publish()
		if stop := w.rest(dctx, pause, check); stop != nil {
			w.trouble = ""
			return errors.Join(stop, err)
		}
	}
}

// repeatable marks an error that a repetition may mend, whatever it is.
type repeatable struct{ error }

func (r repeatable) Unwrap() error { return r.error }

// repeated makes almost any error of f worth a repetition: the way back has no
// other way out.
func repeated(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := f(ctx)
		if err == nil || errors.Is(err, agent.ErrSourceMissing) || errors.Is(err, agent.ErrPreflight) {
			return err
		}
		return repeatable{err}
	}
}

func worthRepeating(err error) bool {
	if agent.IsPermanent(err) || errors.Is(err, errOvertaken) {
		return false
	}
	_, marked := errors.AsType[repeatable](err)
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

// persist records what build makes of the service's record, and goes on trying
// while the disk refuses: nothing may be touched on an intent that is not written.
// build is asked anew for every try, because orders are taken meanwhile.
func (w *Worker) persist(ctx context.Context, build func(agent.ServiceRecord) agent.Entry) (agent.Entry, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryLongest) {
		written, err := w.Recorder.Record(build(w.record))
		if err == nil {
			w.trouble = ""
			return written, w.written(written)
		}
		w.Log.Error("the history cannot be written", "service", w.svc.Name, "error", err)
		w.trouble = "the history cannot be written: " + err.Error()
		w.publish()
		if err := w.rest(ctx, pause, nil); err != nil {
			return agent.Entry{}, err
		}
	}
}

// written takes over what the store has accepted.
func (w *Worker) written(got agent.Entry) error {
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
	ctx, cancel := context.WithCancel(context.Background()) // every owner calls stop on its way out
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := contained(ctx, func(ctx context.Context) error {
			w.Probe(ctx, svc, func(s agent.Sample) {
				select {
				case w.samples <- s:
				case <-ctx.Done():
				}
			})
			return nil
		})
		if err != nil {
			w.Log.Error("the probes of a service failed", "service", svc.Name, "error", err)
		}
	}()
	return func() { cancel(); <-done }
}

// sooner is the earlier of two times, of which either may be never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
