package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// request is an order on its way to an answer. The zero request is nobody's.
type request struct {
	order agent.Order
	at    time.Time   // when it was given
	reply chan answer // room for one: the first answer counts
	hide  func(string) string
}

type answer struct {
	receipt agent.Receipt
	err     error
}

func (r request) answer(receipt agent.Receipt) { r.give(answer{receipt: receipt}) }

// refuse answers with an error. It may quote files and the world: what it says is
// redacted.
func (r request) refuse(err error) {
	if r.hide != nil && err != nil {
		err = agent.WithHint(redactedError{r.hide(err.Error()), err}, r.hide(agent.Hint(err)))
	}
	r.give(answer{err: err})
}

func (r request) give(a answer) {
	select {
	case r.reply <- a:
	default: // nobody's, or answered already
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
	r := request{order: order, at: time.Now(), reply: make(chan answer, 1)}
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
	case <-w.ended:
	}
	select {
	case a := <-r.reply:
		return a.receipt, a.err
	default:
		return agent.Receipt{}, errEnded
	}
}

// accept does at once what can be done at once; the rest waits for a plan.
func (w *Worker) accept(ctx context.Context, r request) {
	switch r.order.Verb {
	case agent.VerbPause, agent.VerbResume:
		w.pause(r)
	case agent.VerbCancel:
		w.cancel(r)
	case agent.VerbKeep:
		w.keepHeld(ctx, r)
	case agent.VerbRollback:
		w.rollbackOrder(r)
	default:
		w.pending = append(w.pending, r)
		w.dirty = true
	}
}

func (w *Worker) pause(r request) {
	now := time.Now()
	record, kind, message := w.record, agent.EventPaused, "paused by "+r.order.Actor
	record.Pause = &agent.Pause{At: now, By: r.order.Actor, Reason: agent.ReasonPaused, Note: r.order.Note}
	if r.order.For > 0 {
		record.Pause.Until = now.Add(r.order.For)
		message += " until " + record.Pause.Until.Format(time.RFC3339)
	}
	if r.order.Verb == agent.VerbResume {
		record.Rollbacks = nil // a human has looked: the brake counts anew
		record.Pause, kind, message = nil, agent.EventResumed, "resumed by "+r.order.Actor
		w.cause = "resume"
	}
	_, err := w.Recorder.Record(agent.Entry{Service: &record, Event: &agent.Event{
		At: now, Kind: kind, Service: w.svc.Name, Reason: agent.ReasonPaused, Message: message, Severity: agent.SeverityInfo,
	}})
	if err != nil {
		r.refuse(fmt.Errorf("recording the order: %w", err))
		return
	}
	w.record, w.dirty = record, true
	r.answer(agent.Receipt{Message: message})
}

func (w *Worker) cancel(r request) {
	c := w.open
	switch {
	case c == nil || r.order.Deployment != 0 && c.dep.ID != r.order.Deployment:
		r.refuse(fmt.Errorf("%s is not open", named(r.order, w.svc.Name)))
	case c.dep.Kind == agent.KindAdopt:
		r.refuse(fmt.Errorf("deployment %d only watches what runs already: there is nothing to cancel", c.dep.ID))
	case c.dep.State != agent.StateQueued && c.dep.State != agent.StateFetching:
		r.refuse(agent.WithHint(fmt.Errorf("deployment %d is %s already and cannot be cancelled", c.dep.ID, c.dep.State), "`agent rollback "+w.svc.Name+"` puts the last stable release back"))
	default:
		c.decide(r, fmt.Sprintf("deployment %d is cancelled", c.dep.ID))
	}
}

// named says which deployment an order is about: 0 is the open one.
func named(order agent.Order, service string) string {
	if order.Deployment == 0 {
		return fmt.Sprintf("a deployment of service %q", service)
	}
	return fmt.Sprintf("deployment %d of service %q", order.Deployment, service)
}

// keepHeld accepts a held deployment, if its release is what serves.
func (w *Worker) keepHeld(ctx context.Context, r request) {
	c := w.open
	if c == nil || r.order.Deployment != 0 && c.dep.ID != r.order.Deployment || c.dep.State != agent.StateHeld {
		r.refuse(fmt.Errorf("%s is not held", named(r.order, w.svc.Name)))
		return
	}
	serving := c.lookUp(ctx)
	switch {
	case serving == agent.ServingNew && c.dep.State == agent.StateHeld:
		c.decide(r, fmt.Sprintf("deployment %d is kept", c.dep.ID))
	case serving == agent.ServingUnknown:
		r.refuse(errors.New("what serves cannot be looked up now, so it cannot be kept"))
	default:
		r.refuse(agent.WithHint(fmt.Errorf("deployment %d cannot be kept: its release does not serve (%s does)", c.dep.ID, serving), "`agent rollback "+w.svc.Name+"` or `agent retry "+w.svc.Name+"`"))
	}
}

// rollbackOrder ends an open deployment by rolling it back. Where none is open, or
// only an adoption, a rollback is a deployment of its own.
func (w *Worker) rollbackOrder(r request) {
	c := w.open
	switch {
	case c == nil || c.dep.Kind == agent.KindAdopt:
		w.pending = append(w.pending, r)
		w.waiting = c != nil
	case c.dep.State == agent.StateRollingBack || c.dep.Kind == agent.KindRollback:
		r.answer(agent.Receipt{Deployment: c.dep.ID, Message: fmt.Sprintf("deployment %d is rolling back already", c.dep.ID)})
	case !c.dep.State.May(agent.StateRollingBack):
		w.cancelAndGoBack(r)
	default:
		rel, err := w.releaseToRestore(r.order.Release, c.dep.Fingerprint)
		if err := restorable(w.svc.Name, r.order.Release, rel, err); err != nil {
			r.refuse(err)
			return
		}
		c.decide(r, fmt.Sprintf("deployment %d is rolled back", c.dep.ID))
	}
}

// cancelAndGoBack ends a deployment that has touched nothing. Going further back
// than what serves is a deployment of its own.
func (w *Worker) cancelAndGoBack(r request) {
	answered := r
	if r.order.Release != 0 && r.order.Release != w.record.Serving {
		w.pending = append(w.pending, r)
		answered.reply = nil
	}
	w.open.decide(answered, fmt.Sprintf("deployment %d is cancelled before anything was changed", w.open.dep.ID))
}

// decide records a human's word on the open deployment, then answers: what was
// answered must survive a crash.
func (c *cycle) decide(r request, message string) {
	dep := c.dep
	dep.Decision = &agent.Decision{At: time.Now(), Verb: r.order.Verb, Actor: r.order.Actor, Release: r.order.Release, Note: r.order.Note}
	if _, err := c.Recorder.Record(agent.Entry{Deployment: &dep}); err != nil {
		r.refuse(fmt.Errorf("recording the order: %w", err))
		return
	}
	c.dep = dep
	r.answer(agent.Receipt{Deployment: dep.ID, Message: message})
}

// humanRollback deploys an older release because a human asked for it, and
// quarantines what it leaves.
func (w *Worker) humanRollback(ctx context.Context, ask request) error {
	leaving, from := w.serving, ""
	running, err := w.lookAtRunning(ctx)
	if err != nil {
		ask.refuse(err)
		return nil
	}
	if leaving != nil && running.Serves(leaving, nil) == agent.ServingNew {
		from = leaving.Fingerprint
	} else {
		leaving = nil // it is recorded, but does not serve: it may be what is wanted back
	}
	source, err := w.releaseToRestore(ask.order.Release, from)
	if err := restorable(w.svc.Name, ask.order.Release, source, err); err != nil {
		ask.refuse(err)
		return nil
	}
	if from == source.Fingerprint {
		leaving = nil
	}
	rel := *source
	rel.Restores, rel.Standing = source.Number, agent.StandingNew
	w.wanted.plan = agent.Plan{Action: agent.PlanDeploy, Reason: agent.ReasonRequested, Detail: "back to " + agent.ReleaseName(source.Number)}
	return w.deploy(ctx, ask, agent.KindRollback, rel, leaving)
}

// restorable says why a release cannot be what a human wants back.
func restorable(service string, number int64, rel *agent.Release, err error) error {
	history := "`agent history " + service + "` shows what there was"
	switch {
	case err != nil:
		return agent.WithHint(fmt.Errorf("service %q has no release %s", service, agent.ReleaseName(number)), history)
	case rel == nil:
		return agent.WithHint(fmt.Errorf("service %q has no stable release to go back to", service), history)
	case rel.Partial || len(rel.Snapshot.Data) == 0:
		return agent.WithHint(fmt.Errorf("release %s of service %q cannot be restored: its model is not known", agent.ReleaseName(rel.Number), service), "it was running before the agent came, or its snapshot is no longer kept; `agent rollback "+service+"` goes back to the newest stable one")
	}
	return nil
}

func (w *Worker) nextRequest() request {
	if len(w.pending) == 0 {
		return request{}
	}
	r := w.pending[0]
	w.pending = w.pending[1:]
	return r
}

// newestOrder is when the last order that waits for a plan was given: its human
// wants what there is now.
func (w *Worker) newestOrder() time.Time {
	var at time.Time
	for _, r := range w.pending {
		at = judge.Later(at, r.at)
	}
	return at
}

func (w *Worker) pendingRollback() bool {
	return slices.ContainsFunc(w.pending, func(r request) bool { return r.order.Verb == agent.VerbRollback })
}

// answerSame answers those who only want what is under way.
func (w *Worker) answerSame(receipt agent.Receipt) {
	w.pending = slices.DeleteFunc(w.pending, func(r request) bool {
		own := r.order.Force || len(r.order.Images) > 0 || r.order.NoOverride || r.order.Irreversible
		same := r.order.Verb != agent.VerbRollback && !own
		if same {
			r.answer(receipt)
		}
		return same
	})
}

// refusePending answers those who wait for a plan that cannot be made now.
func (w *Worker) refusePending(err error) {
	w.pending = slices.DeleteFunc(w.pending, func(r request) bool {
		planned := r.order.Verb != agent.VerbRollback
		if planned {
			r.refuse(err)
		}
		return planned
	})
}
