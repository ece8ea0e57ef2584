package deploy

import (
	"context"
	"errors"

	"rollback-agent/agent"
)

var errBusy = errors.New("there is something more urgent")

// retain tells the target which releases must stay restorable. Cleaning up waits
// for nothing and nobody waits for it.
func (w *Worker) retain(ctx context.Context) {
	releases, err := w.Recorder.Releases(w.svc.Name)
	if err == nil {
		var quarantine []agent.Quarantined
		if quarantine, err = w.Recorder.Quarantine(w.svc.Name); err == nil {
			kept := keep(releases, quarantine, w.record.Serving, w.svc.KeepReleases)
			err = errors.Join(w.retainThese(ctx, kept), w.prune(kept))
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errBusy) {
		w.Log.Warn("old releases could not be cleaned up", "service", w.svc.Name, "error", err)
	}
}

// prune lets the history forget what cannot be restored any more.
func (w *Worker) prune(kept []agent.Release) error {
	if w.KeepHistory == 0 {
		return nil
	}
	numbers := make([]int64, len(kept))
	for n, r := range kept {
		numbers[n] = r.Number
	}
	return w.Recorder.Prune(w.svc.Name, w.KeepHistory, numbers)
}

func (w *Worker) retainThese(ctx context.Context, kept []agent.Release) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*lookTimeout, errLook)
	defer cancel()
	dirty := w.dirty
	w.dirty = false
	defer func() { w.dirty = w.dirty || dirty }()
	return w.during(ctx, func(ctx context.Context) error { return w.Target.Retain(ctx, w.svc, kept) }, func(context.Context) error {
		if w.dirty || len(w.pending) > 0 {
			return errBusy
		}
		return nil
	})
}

// keep chooses what serves and what rollbacks could end at: the best count of
// them, two at least, each fingerprint once.
func keep(releases []agent.Release, quarantine []agent.Quarantined, serving int64, count int) []agent.Release {
	best := trusted(releases, quarantine, "")
	if n := max(count, 2); len(best) > n {
		best = best[:n]
	}
	for _, r := range releases {
		if r.Number == serving {
			return append(best, r)
		}
	}
	return best
}
