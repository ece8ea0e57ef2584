package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// cycle is one open deployment in the hands of its worker.
type cycle struct {
	*Worker
	dep        agent.Deployment
	to         agent.Release  // what shall serve; with its snapshot
	from       *agent.Release // what served before, nil for nothing
	restored   agent.Release  // what a rollback puts back
	source     agent.Release  // what restored restores
	resumed    bool           // the state was entered by a process that is gone
	force      bool           // a human insists
	stopProbes func()

	cancelled *agent.Order // by a human, while nothing was touched yet
	aborted   *agent.Order // by a human, who wants the old release back
	kept      *agent.Order // by a human, while held
}

// The whole cycle:
//
//	queued → fetching → applying → verifying → watching → succeeded
//	                        └──────────┴───────────┴──▶ rolling_back → rolled_back
//
// Each step blocks in its state until it knows the next one. What it needs to go
// on after a crash is in the record already, so every step may be entered twice.
func (c *cycle) step() func(context.Context) (move, error) {
	switch c.dep.State {
	case agent.StateQueued:
		return c.start
	case agent.StateFetching:
		return c.fetch
	case agent.StateApplying:
		return c.apply
	case agent.StateVerifying:
		return c.verify
	case agent.StateWatching:
		return c.watch
	case agent.StateHeld:
		return c.hold
	default:
		return c.rollBack
	}
}

// run drives the deployment to its end. An error means that the agent stops:
// the record says where to go on.
func (c *cycle) run(ctx context.Context) error {
	defer c.endProbes()
	for !c.dep.State.Ended() {
		next, err := c.step()(ctx)
		if err != nil {
			return err
		}
		if err := c.advance(ctx, next); err != nil {
			return err
		}
		c.resumed = false
	}
	return nil
}

// move is a step's answer: the next state, and why.
type move struct {
	to       agent.State
	reason   agent.Reason
	detail   string
	hint     string
	verdict  *agent.Verdict
	severity agent.Severity
}

func (c *cycle) superseded(reason agent.Reason, detail string) move {
	return move{to: agent.StateSuperseded, reason: reason, detail: detail}
}

func (c *cycle) failed(reason agent.Reason, err error) move {
	return move{to: agent.StateFailed, reason: reason, detail: err.Error(), hint: agent.Hint(err), severity: agent.SeverityError}
}

// advance is the one place where a deployment changes its state: it checks the
// move, records it with everything that follows from it, logs it once, and only
// then lets the cycle go on.
func (c *cycle) advance(ctx context.Context, m move) error {
	from := c.dep.State
	if !from.May(m.to) {
		return fmt.Errorf("moving deployment %d from %s to %s (%s): no such transition", c.dep.ID, from, m.to, m.reason)
	}
	next := c.dep
	now := time.Now()
	next.State, next.Reason, next.Message, next.Hint = m.to, m.reason, m.detail, m.hint
	next.Timeline = append(slices.Clone(next.Timeline), agent.Step{At: now, State: m.to, Reason: m.reason, Detail: m.detail})
	if m.verdict != nil {
		next.Verdicts = append(slices.Clone(next.Verdicts), *m.verdict)
	}
	c.saveCounters(&next)
	if m.to.Ended() {
		next.EndedAt = now
		next.Serving = c.lookUp(ctx)
	}
	entry := c.consequences(next, m)
	entry.Event = &agent.Event{
		At: now, Kind: agent.EventTransition, Service: next.Service, Deployment: next.ID,
		From: from, To: m.to, Reason: m.reason, Message: m.detail, Severity: severity(m),
	}
	if err := c.persist(ctx, entry); err != nil {
		return err
	}
	c.dep = *entry.Deployment
	c.log(from, m)
	c.publish()
	return nil
}

func (c *cycle) log(from agent.State, m move) {
	log := c.Log.With("service", c.dep.Service, "deployment", c.dep.ID, "from", from, "to", m.to, "reason", m.reason)
	if severity(m) == agent.SeverityInfo {
		log.Info("deployment moved", "detail", m.detail)
		return
	}
	log.Warn("deployment moved", "detail", m.detail)
}

func severity(m move) agent.Severity {
	switch {
	case m.severity != "":
		return m.severity
	case m.to == agent.StateRollbackFailed:
		return agent.SeverityCritical
	case m.to == agent.StateRollingBack, m.to == agent.StateRolledBack, m.to == agent.StateFailed:
		return agent.SeverityError
	case m.to == agent.StateHeld:
		return agent.SeverityWarning
	}
	return agent.SeverityInfo
}

// failing says where a failed verdict leads.
func (c *cycle) failing(v agent.Verdict) move {
	m := move{to: agent.StateFailed, reason: v.Reason, detail: v.Evidence, verdict: &v, severity: agent.SeverityError}
	switch {
	case v.Reason == agent.ReasonStopped:
		m.to, m.severity = agent.StateSuperseded, agent.SeverityInfo
	case c.dep.Kind == agent.KindAdopt:
		m.hint = "nothing was changed; mend the service, then `agent deploy " + c.dep.Service + " --force`"
	case c.dep.Kind == agent.KindRollback:
		m.to, m.severity = agent.StateRollbackFailed, agent.SeverityCritical
	case c.DisableRollback:
		m.reason = agent.ReasonRollbackDisabled
	case c.svc.OnFailure == agent.ActionHold:
		return c.held(v.Reason, v.Evidence, &v)
	case c.svc.OnFailure == agent.ActionAlert:
		m.reason = agent.ReasonOnFailure
		m.hint = "on_failure is alert; `agent rollback " + c.dep.Service + "` puts the last stable release back"
	default:
		return c.rollingBack(m)
	}
	return m
}

func (c *cycle) rollingBack(m move) move {
	target, err := c.rollbackTarget()
	switch {
	case err != nil:
		return c.failed(agent.ReasonNoTarget, fmt.Errorf("%s; looking for a release to go back to: %w", m.detail, err))
	case target == nil:
		m.to, m.reason = agent.StateFailed, agent.ReasonNoTarget
		m.detail += "; there is no stable release to go back to"
		m.hint = "mend it by hand, or deploy something else; the first release that ends its watch in good health is what rollbacks go back to"
	default:
		m.to = agent.StateRollingBack
	}
	return m
}

func (c *cycle) held(reason agent.Reason, detail string, v *agent.Verdict) move {
	return move{
		to: agent.StateHeld, reason: reason, detail: detail, verdict: v, severity: agent.SeverityWarning,
		hint: fmt.Sprintf("`agent keep %d` accepts it, `agent rollback %s` puts the last stable release back", c.dep.ID, c.dep.Service),
	}
}

// lookUp asks the world what serves now. It never asks for long.
func (c *cycle) lookUp(ctx context.Context) agent.Serving {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), lookTimeout, errLook)
	defer cancel()
	old := c.from
	if c.dep.Restored != 0 {
		if restored, err := c.Recorder.Release(c.dep.Service, c.dep.Restored); err == nil {
			old = &restored
		}
	}
	running, err := c.Target.Running(ctx, c.svc)
	if err != nil {
		c.Log.Warn("what serves could not be looked up", "service", c.dep.Service, "deployment", c.dep.ID, "error", err)
		return agent.ServingUnknown
	}
	return running.Serves(&c.to, old)
}

func (c *cycle) saveCounters(d *agent.Deployment) {
	if c.evidence != nil {
		d.Counters.Exits, d.Counters.Baseline = c.evidence.Counters()
	}
}

// judgeRelease turns the eyes of the worker to one release.
func (c *cycle) judgeRelease(rel *agent.Release, counters agent.Counters) {
	c.evidence = judge.NewEvidence(rel, c.svc.Health.Gates(), counters)
	c.evidence.Observe(c.picture.snapshot())
}
