package deploy

import (
	"slices"
	"time"

	"rollback-agent/agent"
)

// The storm brake: this many automatic rollbacks of one service within the
// window pause its automation.
const (
	stormCount  = 3
	stormWindow = time.Hour
)

// consequences gathers everything that a move writes besides the deployment, so
// that one transaction holds all of it.
func (c *cycle) consequences(next agent.Deployment, m move) agent.Entry {
	entry := agent.Entry{Deployment: &next}
	record := c.record
	switch m.to {
	case agent.StateVerifying:
		record.Serving, record.Drift, record.Idle = next.To, false, false
		c.setDeadlines(&next)
	case agent.StateFetching, agent.StateApplying, agent.StateWatching, agent.StateHeld:
		c.setDeadlines(&next)
	case agent.StateRollingBack:
		c.setDeadlines(&next)
		c.to.Standing = agent.StandingRejected
		entry.Releases = append(entry.Releases, c.to)
		entry.Quarantine = append(entry.Quarantine, c.quarantine(next, m))
		if m.reason != agent.ReasonAborted {
			record.Rollbacks = recent(append(slices.Clone(record.Rollbacks), time.Now()))
		}
	case agent.StateSucceeded:
		c.succeeded(&entry, &record, next, m)
	case agent.StateRolledBack:
		c.rolledBack(&entry, &record, next)
	case agent.StateRollbackFailed:
		record.Critical = true
		if next.Restored != 0 && next.Serving == agent.ServingOld {
			record.Serving = next.Restored
		}
		record.Pause = &agent.Pause{At: next.EndedAt, By: "agent", Reason: agent.ReasonRollbackFailed, Note: m.detail}
	case agent.StateFailed:
		c.failedRelease(&entry, m)
	case agent.StateCancelled:
		if m.reason == agent.ReasonAborted {
			entry.Quarantine = append(entry.Quarantine, c.quarantine(next, m))
		}
	}
	if m.to == agent.StateSuperseded && m.reason == agent.ReasonStopped {
		record.Idle = true
	}
	entry.Service = &record
	return entry
}

func (c *cycle) succeeded(entry *agent.Entry, record *agent.ServiceRecord, next agent.Deployment, m move) {
	rel := c.to
	switch m.reason {
	case agent.ReasonUnverified:
		rel.Standing = agent.StandingUnverified
	case agent.ReasonKept, agent.ReasonHoldExpired: // kept is not proved
	default:
		rel.Standing = agent.StandingStable
	}
	record.Serving, record.Critical = next.To, false
	if next.Kind == agent.KindAdopt {
		record.Drift = rel.Partial
	}
	entry.Releases = append(entry.Releases, rel)
}

func (c *cycle) rolledBack(entry *agent.Entry, record *agent.ServiceRecord, next agent.Deployment) {
	restored := c.restored
	restored.Standing = c.source.Standing
	record.Serving, record.Critical = restored.Number, false
	if len(record.Rollbacks) >= stormCount && record.Pause == nil {
		record.Pause = &agent.Pause{At: next.EndedAt, By: "agent", Reason: agent.ReasonStorm, Note: "three automatic rollbacks within an hour"}
	}
	entry.Releases = append(entry.Releases, restored)
}

// failedRelease rejects what was applied and failed. What failed before anything
// was touched may still be good.
func (c *cycle) failedRelease(entry *agent.Entry, m move) {
	if c.dep.Kind == agent.KindDeploy && m.verdict != nil {
		rel := c.to
		rel.Standing = agent.StandingRejected
		entry.Releases = append(entry.Releases, rel)
	}
}

func (c *cycle) quarantine(next agent.Deployment, m move) agent.Quarantined {
	by := "agent"
	if c.aborted != nil {
		by = c.aborted.Actor
	}
	return agent.Quarantined{
		Service: next.Service, Fingerprint: next.Fingerprint, At: time.Now(), Deployment: next.ID,
		Release: next.To, Reason: m.reason, By: by, Artifacts: next.Artifacts,
	}
}

// setDeadlines begins the clocks of the state that is entered. They are absolute
// and begin once: a restart never extends them.
func (c *cycle) setDeadlines(d *agent.Deployment) {
	now := time.Now()
	begin := func(t *time.Time, after time.Duration) {
		if t.IsZero() {
			*t = now.Add(after)
		}
	}
	switch d.State {
	case agent.StateFetching:
		begin(&d.Deadlines.Fetch, c.svc.FetchDeadline)
	case agent.StateApplying:
		begin(&d.Deadlines.Progress, c.svc.ProgressDeadline)
	case agent.StateVerifying:
		begin(&d.Deadlines.Progress, c.svc.ProgressDeadline)
		begin(&d.Deadlines.Health, c.svc.HealthDeadline)
	case agent.StateWatching:
		begin(&d.Deadlines.Watch, c.watchFor())
	case agent.StateHeld:
		begin(&d.Deadlines.Hold, c.svc.HoldFor)
	case agent.StateRollingBack:
		begin(&d.Deadlines.Rollback, c.svc.RollbackDeadline)
	}
}

// watchFor is zero where nothing new came to serve that could still go bad.
func (c *cycle) watchFor() time.Duration {
	if c.dep.Kind != agent.KindDeploy {
		return 0
	}
	return c.svc.WatchFor
}

func recent(times []time.Time) []time.Time {
	var kept []time.Time
	for _, t := range times {
		if times[len(times)-1].Sub(t) < stormWindow {
			kept = append(kept, t)
		}
	}
	return kept
}
