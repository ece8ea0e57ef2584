package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// rollBack puts the last stable release back: the same Fetch and Apply as the
// way forward, then the same health gate. It never queues, and what is torn down
// is torn down only once its replacement is known to be here.
func (c *cycle) rollBack(ctx context.Context) (move, error) {
	if m, done := c.overruled(ctx); done {
		return m, nil
	}
	c.diagnose(ctx)
	if err := c.chooseRestored(ctx); err != nil {
		return c.failed(agent.ReasonNoTarget, err), nil
	}
	err := c.restore(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return move{}, context.Cause(ctx)
	case errors.Is(err, agent.ErrSourceMissing):
		m := c.failed(agent.ReasonSourceMissing, fmt.Errorf("%w; nothing was torn down", err))
		m.severity = agent.SeverityCritical
		return m, nil
	case err != nil:
		return move{
			to: agent.StateRollbackFailed, reason: agent.ReasonRollbackFailed, detail: err.Error(),
			hint: cmp.Or(agent.Hint(err), "look at it by hand; the service is paused until `agent resume "+c.dep.Service+"`"),
		}, nil
	}
	return c.proveRestored(ctx)
}

// overruled tells, after a restart, that somebody else has taken over meanwhile.
func (c *cycle) overruled(ctx context.Context) (move, bool) {
	if !c.resumed || c.lookUp(ctx) != agent.ServingOther {
		return move{}, false
	}
	m := c.superseded(agent.ReasonForeign, "somebody else changed what serves during the rollback")
	m.severity = agent.SeverityCritical
	return m, true
}

// diagnose captures what a human needs before it is torn down. It is given little
// time: the outage goes on meanwhile.
func (c *cycle) diagnose(ctx context.Context) {
	if len(c.dep.Diagnoses) > 0 {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, diagnoseTimeout, errLook)
	defer cancel()
	diagnoses, err := c.Target.Diagnose(ctx, c.svc)
	if err != nil {
		c.Log.Warn("the failure could not be diagnosed", "service", c.dep.Service, "deployment", c.dep.ID, "error", err)
		return
	}
	c.dep.Diagnoses = diagnoses
}

// chooseRestored makes the release that the rollback serves and records it,
// together with the diagnosis, before anything is touched.
func (c *cycle) chooseRestored(ctx context.Context) error {
	if c.dep.Restored != 0 {
		return c.loadRestored()
	}
	source, err := c.rollbackTarget()
	if err != nil || source == nil {
		return errors.Join(err, errNoTarget)
	}
	record := c.record
	record.Last++
	restored := *source
	restored.Number, restored.Restores = record.Last, source.Number
	restored.Standing, restored.CreatedAt = agent.StandingNew, time.Now()
	dep := c.dep
	dep.Restored = restored.Number
	entry := agent.Entry{Service: &record, Deployment: &dep, Releases: []agent.Release{restored}}
	if err := c.persist(ctx, entry); err != nil {
		return err
	}
	c.dep, c.restored, c.source = dep, restored, *source
	return nil
}

func (c *cycle) loadRestored() error {
	restored, err := c.Recorder.Release(c.dep.Service, c.dep.Restored)
	if err != nil {
		return fmt.Errorf("loading the release that the rollback restores: %w", err)
	}
	source, err := c.Recorder.Release(c.dep.Service, restored.Restores)
	if err != nil {
		return fmt.Errorf("loading the release that %s restores: %w", agent.ReleaseName(restored.Number), err)
	}
	c.restored, c.source = restored, source
	return nil
}

// rollbackTarget is the newest release that may be trusted and is not what is
// left; one that was proved is preferred to one that only ran. A human's choice
// goes before both.
func (c *cycle) rollbackTarget() (*agent.Release, error) {
	number := int64(0)
	if c.aborted != nil {
		number = c.aborted.Release
	}
	if number == 0 {
		releases, err := c.Recorder.Releases(c.dep.Service)
		if err != nil {
			return nil, err
		}
		quarantine, err := c.Recorder.Quarantine(c.dep.Service)
		if err != nil {
			return nil, err
		}
		number = newestStable(releases, quarantine, c.dep.Fingerprint)
	}
	if number == 0 {
		return nil, nil
	}
	rel, err := c.Recorder.Release(c.dep.Service, number)
	if err != nil {
		return nil, fmt.Errorf("loading release %s: %w", agent.ReleaseName(number), err)
	}
	return &rel, nil
}

// newestStable returns the number of the release to go back to from leaving, or 0.
func newestStable(releases []agent.Release, quarantine []agent.Quarantined, leaving string) int64 {
	var unverified int64
	for _, r := range releases {
		bad := slices.ContainsFunc(quarantine, func(q agent.Quarantined) bool { return q.Fingerprint == r.Fingerprint })
		if !r.Restorable() || bad || r.Fingerprint == leaving {
			continue
		}
		if r.Standing == agent.StandingStable {
			return r.Number
		}
		if unverified == 0 {
			unverified = r.Number
		}
	}
	return unverified
}

// restore fetches first: only when the old release is known to be here is the new
// one torn down.
func (c *cycle) restore(ctx context.Context) error {
	deadline := c.dep.Deadlines.Rollback
	var rel agent.Release
	err := c.persevere(ctx, deadline, func(ctx context.Context) (err error) {
		rel, err = c.Target.Fetch(ctx, c.svc, c.restored, nil)
		return lastWayOut(err)
	}, nil)
	if err != nil {
		return err
	}
	record := c.record
	if err := c.persist(ctx, agent.Entry{Service: &record, Releases: []agent.Release{rel}}); err != nil {
		return err
	}
	c.restored = rel
	c.endProbes()
	c.judgeRelease(&c.restored, agent.Counters{})
	err = c.persevere(ctx, deadline, func(ctx context.Context) error {
		ctx, cancel := graceful(ctx, applyGrace)
		defer cancel()
		return lastWayOut(c.Target.Apply(ctx, c.svc, rel, 100))
	}, nil)
	if err != nil {
		return err
	}
	return c.noteRestored(ctx)
}

// noteRestored tells when the old release ran again: what follows is only proof.
func (c *cycle) noteRestored(ctx context.Context) error {
	dep, record := c.dep, c.record
	dep.Timeline = append(slices.Clone(dep.Timeline), agent.Step{
		At: time.Now(), State: dep.State, Reason: agent.ReasonApplied,
		Detail: agent.ReleaseName(c.source.Number) + " runs again and has to prove its health",
	})
	if err := c.persist(ctx, agent.Entry{Service: &record, Deployment: &dep}); err != nil {
		return err
	}
	c.dep = dep
	return nil
}

// lastWayOut makes almost any error worth a repetition: the way back has no other
// way out.
func lastWayOut(err error) error {
	if err == nil || errors.Is(err, agent.ErrSourceMissing) || errors.Is(err, agent.ErrPreflight) {
		return err
	}
	return again{err}
}

// proveRestored keeps the health gate for what was put back.
func (c *cycle) proveRestored(ctx context.Context) (move, error) {
	c.look(&c.restored)
	fullLook := c.fullLook(c.dep.Deadlines.Rollback)
	for {
		rules := c.restoreRules(fullLook)
		v, again := judge.Gate(rules, c.evidence, time.Now())
		switch {
		case v.Outcome == agent.OutcomePass:
			detail := fmt.Sprintf("%s serves again as %s", agent.ReleaseName(c.source.Number), agent.ReleaseName(c.restored.Number))
			return move{to: agent.StateRolledBack, reason: c.dep.Reason, detail: detail, verdict: &v}, nil
		case v.Outcome == agent.OutcomeFail, !time.Now().Before(rules.Deadline):
			return c.bothFail(v), nil
		case c.foreign(ctx, &c.restored):
			m := c.superseded(agent.ReasonForeign, "somebody else changed what serves during the rollback")
			m.severity = agent.SeverityCritical
			return m, nil
		}
		if err := c.pump(ctx, again); err != nil {
			return move{}, err
		}
	}
}

// bothFail ends a rollback whose old release is not healthy either: a rollback is
// never rolled back.
func (c *cycle) bothFail(v agent.Verdict) move {
	return move{
		to: agent.StateRollbackFailed, reason: agent.ReasonRollbackFailed, verdict: &v,
		detail: "the release that was put back is not healthy either: " + v.Evidence,
		hint:   "old and new both fail: look at what they share (a database, a volume, the network); the service is paused until `agent resume " + c.dep.Service + "`",
	}
}
