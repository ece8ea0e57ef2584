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
		c.judgeRelease(rel, c.dep.Counters)
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
// evidence: one look, long enough to prove health, once per deployment.
func (c *cycle) fullLook(deadline time.Time) time.Time {
	now := time.Now()
	if !c.resumed || c.dep.Counters.FullLook || now.Add(c.svc.MinHealthyTime).Before(deadline) {
		return time.Time{}
	}
	c.dep.Counters.FullLook = true // recorded with the next move; a second crash may look again, briefly
	return now.Add(c.svc.MinHealthyTime + lookMargin)
}

// healthRules are those of the gate that proves a release. The deadline is only
// ever lengthened, to what the containers' own HEALTHCHECKs need.
func (c *cycle) healthRules(fullLook time.Time) judge.Rules {
	deadline := c.dep.Deadlines.Health
	if budget := c.evidence.Budget(); budget > 0 {
		began := deadline.Add(-c.svc.HealthDeadline)
		deadline = later(deadline, began.Add(budget+c.svc.MinHealthyTime))
	}
	if p := c.dep.Deadlines.Progress; !p.IsZero() && p.Before(deadline) {
		deadline = p
	}
	return judge.Rules{
		MinHealthy:  c.svc.MinHealthyTime,
		MaxRestarts: c.svc.MaxRestarts,
		Deadline:    later(deadline, fullLook),
	}
}

// watchRules pass at the end of the watch, and fail when health has not come
// back a health deadline later.
func (c *cycle) watchRules(fullLook time.Time) judge.Rules {
	end := c.dep.Deadlines.Watch
	return judge.Rules{
		MinHealthy:  c.svc.MinHealthyTime,
		MaxRestarts: c.svc.MaxRestarts,
		Deadline:    later(end.Add(c.svc.HealthDeadline), fullLook),
		NotBefore:   end,
	}
}

// restoreRules are those of the release that a rollback puts back.
func (c *cycle) restoreRules(fullLook time.Time) judge.Rules {
	return judge.Rules{
		MinHealthy:  c.svc.MinHealthyTime,
		MaxRestarts: c.svc.MaxRestarts,
		Deadline:    later(c.dep.Deadlines.Rollback, fullLook),
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
