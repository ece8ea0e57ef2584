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
func (c *cycle) consequences(record agent.ServiceRecord, next agent.Deployment, m move) agent.Entry {
	entry := agent.Entry{Event: &agent.Event{
		At: time.Now(), Kind: agent.EventTransition, Service: next.Service, Deployment: next.ID,
		From: c.dep.State, To: m.to, Reason: m.reason, Message: m.detail, Severity: severity(m),
	}}
	c.beginDeadlines(&next)
	switch m.to {
	case agent.StateApplying:
		next.Before = agent.Running{Instances: c.picture.instances}.Identity()
		if next.Irreversible {
			record.Irreversible = next.To
		}
	case agent.StateVerifying:
		record.Serving, record.Drift, record.Idle = next.To, false, false
	case agent.StateRollingBack:
		c.leave(&entry, &record, &next, m)
	case agent.StateSucceeded:
		c.succeeded(&entry, &record, next, m)
	case agent.StateRolledBack:
		c.rolledBack(&entry, &record, next)
	case agent.StateRollbackFailed:
		c.critical(&record, next, m)
	case agent.StateFailed:
		c.reject(&entry, m)
	case agent.StateSuperseded:
		record.Idle = record.Idle || m.reason == agent.ReasonStopped
	case agent.StateCancelled:
		if m.reason == agent.ReasonAborted {
			entry.Quarantine = append(entry.Quarantine, c.quarantine(next, m))
		}
	}
	decline(&record, next)
	entry.Service, entry.Deployment = &record, &next
	return entry
}

// leave rejects what is rolled back, quarantines it, and makes the release that
// the rollback serves: a crash must not lose which one it was.
func (c *cycle) leave(entry *agent.Entry, record *agent.ServiceRecord, next *agent.Deployment, m move) {
	left := c.to
	left.Standing = agent.StandingRejected
	record.Last++
	restored := *m.back
	restored.Number, restored.Restores = record.Last, m.back.Number
	restored.Standing, restored.CreatedAt = agent.StandingNew, time.Now()
	next.Restored = restored.Number
	c.source = *m.back
	entry.Releases = append(entry.Releases, left, restored)
	entry.Quarantine = append(entry.Quarantine, c.quarantine(*next, m))
	if m.reason != agent.ReasonAborted {
		record.Rollbacks = recent(append(slices.Clone(record.Rollbacks), time.Now()))
	}
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
		record.Drift = rel.Partial || rel.Fingerprint != record.Wanted
	}
	entry.Releases = append(entry.Releases, rel)
}

func (c *cycle) rolledBack(entry *agent.Entry, record *agent.ServiceRecord, next agent.Deployment) {
	restored := c.restored
	restored.Standing = c.source.Standing
	record.Serving, record.Critical = restored.Number, false
	if len(record.Rollbacks) >= stormCount && !record.Pause.Active(next.EndedAt) {
		record.Pause = &agent.Pause{At: next.EndedAt, By: "agent", Reason: agent.ReasonStorm, Note: "three automatic rollbacks within an hour"}
	}
	entry.Releases = append(entry.Releases, restored)
}

// critical pauses the service after a failed rollback, unless a human has paused
// it until they say so.
func (c *cycle) critical(record *agent.ServiceRecord, next agent.Deployment, m move) {
	record.Critical = true
	if next.Restored != 0 && next.Serving == agent.ServingOld {
		record.Serving = next.Restored
	}
	if !record.Pause.Active(next.EndedAt) || !record.Pause.Until.IsZero() {
		record.Pause = &agent.Pause{At: next.EndedAt, By: "agent", Reason: agent.ReasonRollbackFailed, Note: m.detail}
	}
}

// reject marks what was applied and failed. What failed before anything was
// touched may still be good.
func (c *cycle) reject(entry *agent.Entry, m move) {
	if c.dep.Kind == agent.KindDeploy && m.verdict != nil {
		rel := c.to
		rel.Standing = agent.StandingRejected
		entry.Releases = append(entry.Releases, rel)
	}
}

// decline remembers that what is wanted has had its chance, or that a human went
// elsewhere: it is not deployed again by itself.
func decline(record *agent.ServiceRecord, d agent.Deployment) {
	overtaken := d.State == agent.StateSuperseded && d.Reason != agent.ReasonForeign && d.Reason != agent.ReasonStopped || d.Reason == agent.ReasonConfig
	switch {
	case !d.State.Ended() || overtaken:
	case d.Kind == agent.KindRollback && d.Fingerprint != record.Wanted,
		d.Kind == agent.KindDeploy && d.State != agent.StateSucceeded && d.Fingerprint == record.Wanted:
		record.Declined = d.ID
	}
}

func (c *cycle) quarantine(next agent.Deployment, m move) agent.Quarantined {
	by := "agent"
	if next.Decided(agent.VerbRollback) {
		by = next.Decision.Actor
	}
	return agent.Quarantined{
		Service: next.Service, Fingerprint: next.Fingerprint, At: time.Now(), Deployment: next.ID,
		Release: next.To, Reason: m.reason, By: by, Artifacts: next.Artifacts,
	}
}

// beginDeadlines begins the clocks of the state that is entered. They are absolute
// and begin once: a restart never extends them.
func (c *cycle) beginDeadlines(d *agent.Deployment) {
	now, svc := time.Now(), c.svc
	if d.Kind == agent.KindRollback { // the way back has one patience for everything
		svc.FetchDeadline, svc.ProgressDeadline, svc.WatchFor = svc.RollbackDeadline, svc.RollbackDeadline+svc.HealthDeadline, 0
	}
	if d.Kind == agent.KindAdopt {
		svc.WatchFor = 0
	}
	begin := func(t *time.Time, after time.Duration) {
		if t.IsZero() {
			*t = now.Add(after)
		}
	}
	switch d.State {
	case agent.StateFetching:
		begin(&d.Deadlines.Fetch, svc.FetchDeadline)
	case agent.StateApplying:
		begin(&d.Deadlines.Progress, svc.ProgressDeadline)
	case agent.StateVerifying:
		begin(&d.Deadlines.Progress, svc.ProgressDeadline)
		begin(&d.Deadlines.Health, svc.HealthDeadline)
	case agent.StateWatching:
		begin(&d.Deadlines.Watch, svc.WatchFor)
	case agent.StateHeld:
		begin(&d.Deadlines.Hold, svc.HoldFor)
	case agent.StateRollingBack:
		begin(&d.Deadlines.Rollback, svc.RollbackDeadline)
	}
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
