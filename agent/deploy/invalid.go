package deploy

import (
	"context"
	"errors"
	"time"

	"rollback-agent/agent"
)

// cannotLook answers for a world that does not answer, and tries again soon.
func (w *Worker) cannotLook(ctx context.Context, ask request, err error) (time.Time, error) {
	if ctx.Err() != nil {
		return time.Time{}, context.Cause(ctx)
	}
	ask.refuse(cannotBeNow(ask.order, err))
	if w.trouble != err.Error() {
		w.Log.Warn("what is wanted cannot be looked at", "service", w.svc.Name, "error", w.redact(err.Error()))
	}
	w.trouble, w.advice = err.Error(), agent.Hint(err)
	w.publish()
	return time.Now().Add(retryLongest / 3), nil
}

// tellInvalid waits out a file that is half-written, and tells one that stays
// invalid once. Nothing is touched either way.
func (w *Worker) tellInvalid(ctx context.Context, ask request) (time.Time, error) {
	err := agent.WithHint(errors.New(w.redact(w.wanted.invalid.Error())), w.redact(agent.Hint(w.wanted.invalid)))
	if until := w.wanted.invalidAt.Add(invalidPatience); ask.order.Verb == "" && time.Now().Before(until) {
		w.publish()
		return time.Now().Add(min(invalidPatience/3, time.Until(until)+time.Millisecond)), nil
	}
	ask.refuse(err)
	w.wanted.plan = agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonInvalid, Detail: err.Error()}
	if w.wanted.told == err.Error() { // maybe by the process before
		w.publish()
		return time.Time{}, nil
	}
	w.wanted.told = err.Error()
	w.Log.Error("what is wanted cannot be loaded, nothing is touched", "service", w.svc.Name, "error", err, "hint", agent.Hint(err))
	w.publish()
	return time.Time{}, w.tell(ctx, agent.EventInvalid, agent.SeverityError, err.Error(), agent.Hint(err))
}

func (w *Worker) tellValid(ctx context.Context) error {
	w.trouble, w.advice = "", ""
	if w.wanted.told == "" {
		return nil
	}
	w.wanted.told = ""
	return w.tell(ctx, agent.EventValid, agent.SeverityInfo, "what is wanted can be loaded again", "")
}

// tell records what was told with the service, so that the next process knows.
func (w *Worker) tell(ctx context.Context, kind agent.EventKind, severity agent.Severity, message, hint string) error {
	_, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		record.Invalid = w.wanted.told
		return agent.Entry{Service: &record, Event: &agent.Event{
			At: time.Now(), Kind: kind, Service: w.svc.Name, Message: message, Hint: hint, Severity: severity,
		}}
	})
	return err
}
