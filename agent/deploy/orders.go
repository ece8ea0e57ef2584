package deploy

import (
	"context"
	"fmt"
	"time"

	"rollback-agent/agent"
)

// request is an order on its way to an answer. The zero request is nobody's.
type request struct {
	order agent.Order
	reply chan answer
}

type answer struct {
	receipt agent.Receipt
	err     error
}

func (r request) answer(receipt agent.Receipt) {
	if r.reply != nil {
		r.reply <- answer{receipt: receipt}
	}
}

func (r request) refuse(err error) {
	if r.reply != nil {
		r.reply <- answer{err: err}
	}
}

// actor names who is behind a deployment.
func (r request) actor(cause string) string {
	if r.order.Actor != "" {
		return r.order.Actor
	}
	return "agent (" + cause + ")"
}

// Order carries out what a human asks, and answers as soon as it is known what
// comes of it. It waits where a deployment under way has to end first.
func (w *Worker) Order(ctx context.Context, order agent.Order) (agent.Receipt, error) {
	r := request{order: order, reply: make(chan answer, 1)}
	select {
	case w.orders <- r:
	case <-w.ended:
		return agent.Receipt{}, errEnded
	case <-ctx.Done():
		return agent.Receipt{}, context.Cause(ctx)
	}
	select {
	case a := <-r.reply:
		return a.receipt, a.err
	case <-ctx.Done():
		return agent.Receipt{}, context.Cause(ctx)
	}
}

// accept does at once what can be done at once; the rest waits for a plan.
func (w *Worker) accept(ctx context.Context, r request) {
	switch r.order.Verb {
	case agent.VerbPause, agent.VerbResume:
		w.pause(ctx, r)
	case agent.VerbCancel:
		w.cancel(r)
	case agent.VerbKeep:
		w.keepHeld(r)
	case agent.VerbRollback:
		w.abort(r)
	default:
		w.pending = append(w.pending, r)
		w.dirty = true
	}
}

func (w *Worker) pause(ctx context.Context, r request) {
	now := time.Now()
	record, kind, message := w.record, agent.EventPaused, "paused by "+r.order.Actor
	record.Pause = &agent.Pause{At: now, By: r.order.Actor, Reason: agent.ReasonPaused, Note: r.order.Note}
	if r.order.For > 0 {
		record.Pause.Until = now.Add(r.order.For)
		message += " until " + record.Pause.Until.Format(time.RFC3339)
	}
	if r.order.Verb == agent.VerbResume {
		record.Pause, kind, message = nil, agent.EventResumed, "resumed by "+r.order.Actor
		w.dirty, w.cause = true, "resume"
	}
	_, err := w.Recorder.Record(agent.Entry{Service: &record, Event: &agent.Event{
		At: now, Kind: kind, Service: w.svc.Name, Reason: agent.ReasonPaused, Message: message, Severity: agent.SeverityInfo,
	}})
	if err != nil {
		r.refuse(fmt.Errorf("recording the order: %w", err))
		return
	}
	w.record = record
	r.answer(agent.Receipt{Message: message})
}

func (w *Worker) cancel(r request) {
	c := w.open
	switch {
	case c == nil || c.dep.ID != r.order.Deployment:
		r.refuse(fmt.Errorf("deployment %d of service %q is not open", r.order.Deployment, w.svc.Name))
	case c.dep.State != agent.StateQueued && c.dep.State != agent.StateFetching:
		r.refuse(agent.WithHint(fmt.Errorf("deployment %d is %s already and cannot be cancelled", c.dep.ID, c.dep.State), "`agent rollback "+w.svc.Name+"` puts the last stable release back"))
	default:
		c.cancelled = &r.order
		r.answer(agent.Receipt{Deployment: c.dep.ID, Message: fmt.Sprintf("deployment %d is cancelled", c.dep.ID)})
	}
}

func (w *Worker) keepHeld(r request) {
	c := w.open
	if c == nil || c.dep.ID != r.order.Deployment || c.dep.State != agent.StateHeld {
		r.refuse(fmt.Errorf("deployment %d of service %q is not held", r.order.Deployment, w.svc.Name))
		return
	}
	c.kept = &r.order
	r.answer(agent.Receipt{Deployment: c.dep.ID, Message: fmt.Sprintf("deployment %d is kept", c.dep.ID)})
}

// abort rolls an open deployment back. Where none is open, or only an adoption, a
// rollback is a deployment of its own.
func (w *Worker) abort(r request) {
	c := w.open
	switch {
	case c == nil || c.dep.Kind == agent.KindAdopt:
		w.pending = append(w.pending, r)
	case c.dep.State == agent.StateRollingBack || c.dep.Kind == agent.KindRollback:
		r.answer(agent.Receipt{Deployment: c.dep.ID, Message: fmt.Sprintf("deployment %d is rolling back already", c.dep.ID)})
	default:
		if _, err := w.rollbackSource(r.order.Release); err != nil {
			r.refuse(err)
			return
		}
		c.aborted = &r.order
		if !c.dep.State.May(agent.StateRollingBack) && r.order.Release != 0 {
			w.pending = append(w.pending, r) // nothing was touched yet; going further back is a deployment of its own
			return
		}
		r.answer(agent.Receipt{Deployment: c.dep.ID, Message: fmt.Sprintf("deployment %d is rolled back", c.dep.ID)})
	}
}

func (w *Worker) nextRequest() request {
	if len(w.pending) == 0 {
		return request{}
	}
	r := w.pending[0]
	w.pending = w.pending[1:]
	return r
}

func (w *Worker) answerPending(receipt agent.Receipt) {
	for _, r := range w.pending {
		r.answer(receipt)
	}
	w.pending = nil
}
