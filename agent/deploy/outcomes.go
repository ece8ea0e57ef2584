package deploy

import (
	"fmt"

	"rollback-agent/agent"
)

func (c *cycle) superseded(reason agent.Reason, detail string) move {
	return move{to: agent.StateSuperseded, reason: reason, detail: detail}
}

func (c *cycle) failed(reason agent.Reason, err error) move {
	return move{to: agent.StateFailed, reason: reason, detail: err.Error(), hint: agent.Hint(err), severity: agent.SeverityError}
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
		return c.rollbackFailed(v.Evidence, "", &v)
	case c.DisableRollback:
		m.reason = agent.ReasonRollbackDisabled
	case c.irreversible():
		m = c.held(agent.ReasonIrreversible, v.Evidence+"; running the old release again would not undo "+c.undone()+": a human decides", &v)
		m.severity = agent.SeverityCritical
		return m
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

// irreversible tells whether a human has to say that the deployment is rolled back: it
// cannot be undone itself, or the way back leads behind one that cannot be.
func (c *cycle) irreversible() bool {
	if c.dep.Irreversible || c.dep.Kind != agent.KindDeploy {
		return c.dep.Irreversible
	}
	back, err := c.rollbackTarget()
	return err == nil && back != nil && back.Number < c.record.Irreversible
}

// undone names what going back would not undo.
func (c *cycle) undone() string {
	if c.dep.Irreversible {
		return "it"
	}
	return agent.ReleaseName(c.record.Irreversible) + ", which was deployed since"
}

// rollingBack goes back to the last stable release. Only what the agent deployed
// is rolled back: never a rollback, and never what it found.
func (c *cycle) rollingBack(m move) move {
	back, err := c.rollbackTarget()
	switch {
	case c.dep.Kind != agent.KindDeploy:
		m.to = agent.StateFailed
	case err != nil:
		m = c.failed(agent.ReasonNoTarget, fmt.Errorf("%s; looking for a release to go back to: %w", m.detail, err))
		m.severity = agent.SeverityCritical
	case back == nil:
		m.to, m.reason = agent.StateFailed, agent.ReasonNoTarget
		m.detail += "; there is no stable release to go back to"
		m.hint = "mend it by hand, or deploy something else; the first release that ends its watch in good health is what rollbacks go back to"
	default:
		m.to, m.back = agent.StateRollingBack, back
	}
	return m
}

// aborted carries out a human's rollback of the open deployment.
func (c *cycle) aborted() move {
	return c.rollingBack(move{reason: agent.ReasonAborted, detail: "rolled back by " + c.dep.Decision.Actor})
}

func (c *cycle) rollbackFailed(detail, hint string, v *agent.Verdict) move {
	if hint == "" {
		hint = "look at it by hand; the service is paused until `agent resume " + c.dep.Service + "`"
	}
	return move{to: agent.StateRollbackFailed, reason: agent.ReasonRollbackFailed, detail: detail, hint: hint, verdict: v}
}

func (c *cycle) held(reason agent.Reason, detail string, v *agent.Verdict) move {
	return move{
		to: agent.StateHeld, reason: reason, detail: detail, verdict: v, severity: agent.SeverityWarning,
		hint: fmt.Sprintf("`agent keep %d` accepts it, `agent rollback %s` puts the last stable release back", c.dep.ID, c.dep.Service),
	}
}
