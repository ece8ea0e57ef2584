package deploy

import (
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// look turns the judge to a release and starts the service's own probes, unless
// both are so already.
func (c *cycle) look(rel *agent.Release) {
	if c.evidence == nil || c.evidence.Release != rel {
		c.judgeRelease(rel, c.dep.Counters, false)
	}
	if c.stopProbes == nil {
		c.stopProbes = c.startProbes(c.svc)
	}
}

func (c *cycle) endProbes() {
	if c.stopProbes != nil {
		c.stopProbes()
		c.stopProbes = nil
	}
}

// fullLook is until when a deadline that passed while the agent was away is no
// evidence: long enough to prove health, once per deployment.
func (c *cycle) fullLook() time.Time {
	if !c.granted {
		return time.Time{}
	}
	return c.resumed.Add(c.evidence.Budget() + c.svc.MinHealthyTime + lookMargin)
}

// healthRules are those of the gate that proves a release. The deadline is only
// ever lengthened, to what the containers' own HEALTHCHECKs need.
func (c *cycle) healthRules() judge.Rules {
	deadline := c.dep.Deadlines.Health
	if budget := c.evidence.Budget(); budget > 0 {
		began := deadline.Add(-c.svc.HealthDeadline)
		deadline = judge.Later(deadline, began.Add(budget+c.svc.MinHealthyTime))
	}
	if p := c.dep.Deadlines.Progress; !p.IsZero() && p.Before(deadline) {
		deadline = p
	}
	return c.rules(deadline)
}

// watchRules pass at the end of the watch, and fail when health has not come
// back a health deadline later.
func (c *cycle) watchRules() judge.Rules {
	end := c.dep.Deadlines.Watch
	rules := c.rules(end.Add(c.svc.HealthDeadline))
	rules.NotBefore = end
	return rules
}

// restoreRules are those of the release that a rollback puts back: as long as its
// HEALTHCHECKs need, from the end of Apply.
func (c *cycle) restoreRules() judge.Rules {
	need := c.evidence.Budget() + c.svc.MinHealthyTime + lookMargin
	return c.rules(judge.Later(c.dep.Deadlines.Rollback, c.restoredAt().Add(need)))
}

// restoredAt is when the old release ran again.
func (c *cycle) restoredAt() time.Time {
	var at time.Time
	for _, s := range c.dep.Timeline {
		if s.State == agent.StateRollingBack && s.Reason == agent.ReasonApplied {
			at = s.At
		}
	}
	return at
}

func (c *cycle) rules(deadline time.Time) judge.Rules {
	return judge.Rules{
		MinHealthy:  c.svc.MinHealthyTime,
		MaxRestarts: c.svc.MaxRestarts,
		Deadline:    judge.Later(deadline, c.fullLook()),
	}
}
