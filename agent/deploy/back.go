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

// rollBack puts the last stable release back: the same Fetch and Apply as the
// way forward, then the same health gate. It never queues, and what is torn down
// is torn down only once its replacement is known to be here.
func (c *cycle) rollBack(ctx context.Context) (move, error) {
	if m, done := c.overruled(ctx); done {
		return m, nil
	}
	if err := c.diagnose(ctx); err != nil {
		return move{}, err
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
		return c.rollbackFailed(err.Error(), agent.Hint(err), nil), nil
	}
	return c.proveRestored(ctx)
}

// overruled tells, after a restart, that somebody else has taken over meanwhile.
func (c *cycle) overruled(ctx context.Context) (move, bool) {
	if !c.interrupted() {
		return move{}, false
	}
	running, err := c.lookAtRunning(ctx)
	if err != nil || running.Serves(&c.to, &c.restored) != agent.ServingOther {
		return move{}, false
	}
	if c.from != nil && running.Serves(&c.to, c.from) != agent.ServingOther || running.Identity() == c.dep.Before {
		return move{}, false // what ran before, or a mixture with it, is the agent's own doing
	}
	m := c.superseded(agent.ReasonForeign, "somebody else changed what serves during the rollback")
	m.severity = agent.SeverityCritical
	return m, true
}

// diagnose captures what a human needs before it is torn down, and records it. It
// is given little time: the outage goes on meanwhile.
func (c *cycle) diagnose(ctx context.Context) error {
	if len(c.dep.Diagnoses) > 0 || !c.restoredAt().IsZero() {
		return nil
	}
	var diagnoses []agent.Diagnosis
	err := c.during(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, diagnoseTimeout, errLook)
		defer cancel()
		diagnoses, err = c.Target.Diagnose(ctx, c.svc)
		return err
	}, nil)
	if err != nil {
		c.Log.Warn("the failure could not be diagnosed", "service", c.dep.Service, "deployment", c.dep.ID, "error", err)
		return nil
	}
	return c.note(ctx, func(dep *agent.Deployment) { dep.Diagnoses = c.redactDiagnoses(diagnoses) })
}

// note records a fact about the deployment in the state that it is in.
func (c *cycle) note(ctx context.Context, fact func(*agent.Deployment)) error {
	written, err := c.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		dep := c.dep
		fact(&dep)
		return agent.Entry{Service: &record, Deployment: &dep}
	})
	if err != nil {
		return err
	}
	c.dep = *written.Deployment
	return nil
}

// rollbackTarget is the newest release that may be trusted and is not what is
// left; one that was proved is preferred to one that only ran. A human's choice
// goes before both.
func (c *cycle) rollbackTarget() (*agent.Release, error) {
	number := int64(0)
	if c.dep.Decided(agent.VerbRollback) {
		number = c.dep.Decision.Release
	}
	return c.releaseToRestore(number, c.dep.Fingerprint)
}

// releaseToRestore loads a release with its snapshot; number 0 is the one that an
// automatic rollback from leaving would choose. It is nil when there is none.
func (w *Worker) releaseToRestore(number int64, leaving string) (*agent.Release, error) {
	if number == 0 {
		releases, err := w.Recorder.Releases(w.svc.Name)
		if err != nil {
			return nil, err
		}
		quarantine, err := w.Recorder.Quarantine(w.svc.Name)
		if err != nil {
			return nil, err
		}
		candidates := trusted(releases, quarantine, leaving)
		if len(candidates) == 0 {
			return nil, nil
		}
		number = candidates[0].Number
	}
	rel, err := w.Recorder.Release(w.svc.Name, number)
	if err != nil {
		return nil, fmt.Errorf("loading release %s: %w", agent.ReleaseName(number), err)
	}
	if rel.Partial || len(rel.Snapshot.Data) == 0 {
		return w.twin(rel)
	}
	return &rel, nil
}

// twin is the newest release of the same fingerprint that can be restored: of those
// that are the same only one is kept. Without one it is the release itself.
func (w *Worker) twin(of agent.Release) (*agent.Release, error) {
	releases, err := w.Recorder.Releases(w.svc.Name)
	if err != nil {
		return nil, err
	}
	for _, r := range releases {
		if r.Fingerprint != of.Fingerprint || r.Partial {
			continue
		}
		if rel, err := w.Recorder.Release(w.svc.Name, r.Number); err != nil || len(rel.Snapshot.Data) > 0 {
			return &rel, err
		}
	}
	return &of, nil
}

// trusted chooses the releases that a rollback from leaving may end at, the best
// first: proved before unverified, newer before older, each fingerprint once.
func trusted(releases []agent.Release, quarantine []agent.Quarantined, leaving string) []agent.Release {
	var proved, unverified []agent.Release
	seen := map[string]bool{leaving: true}
	for _, q := range quarantine {
		seen[q.Fingerprint] = true
	}
	for _, r := range releases {
		if !r.Restorable() || seen[r.Fingerprint] {
			continue
		}
		seen[r.Fingerprint] = true
		if r.Standing == agent.StandingStable {
			proved = append(proved, r)
		} else {
			unverified = append(unverified, r)
		}
	}
	return append(proved, unverified...)
}

// restore fetches first: only when the old release is known to be here is the new
// one torn down.
func (c *cycle) restore(ctx context.Context) error {
	deadline, rel := c.dep.Deadlines.Rollback, c.restored
	err := c.persevere(ctx, deadline, repeated(func(ctx context.Context) (err error) {
		rel, err = c.Target.Fetch(ctx, c.svc, c.restored, nil)
		return err
	}), nil)
	if err != nil {
		return err
	}
	if _, err := c.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		return agent.Entry{Service: &record, Releases: []agent.Release{rel}}
	}); err != nil {
		return err
	}
	c.restored = rel
	c.endProbes()
	c.judgeRelease(&c.restored, agent.Counters{}, true)
	err = c.persevere(ctx, deadline, repeated(func(ctx context.Context) error { return c.applyGracefully(ctx, rel) }), nil)
	if err != nil {
		return err
	}
	now := time.Now()
	c.evidence.Applied(now)
	step := agent.Step{
		At: now, State: c.dep.State, Reason: agent.ReasonApplied,
		Detail: agent.ReleaseName(c.source.Number) + " runs again and has to prove its health",
	}
	return c.note(ctx, func(dep *agent.Deployment) { dep.Timeline = append(slices.Clone(dep.Timeline), step) })
}

// proveRestored keeps the health gate for what was put back. A rollback is never
// rolled back.
func (c *cycle) proveRestored(ctx context.Context) (move, error) {
	c.look(&c.restored)
	for {
		rules := c.restoreRules()
		v, again := judge.Gate(rules, c.evidence, time.Now())
		switch {
		case c.foreign(ctx, &c.restored, &c.to, agent.ServingOther, agent.ServingOld):
			m := c.superseded(agent.ReasonForeign, "somebody else changed what serves during the rollback")
			m.severity = agent.SeverityCritical
			return m, nil
		case v.Outcome == agent.OutcomePass:
			detail := fmt.Sprintf("%s serves again as %s", agent.ReleaseName(c.source.Number), agent.ReleaseName(c.restored.Number))
			return move{to: agent.StateRolledBack, reason: c.dep.Reason, detail: detail, verdict: &v}, nil
		case v.Outcome == agent.OutcomeFail && v.Reason == agent.ReasonStopped:
			return c.superseded(agent.ReasonStopped, "somebody stopped it during the rollback"), nil
		case v.Outcome == agent.OutcomeFail, v.Outcome == agent.OutcomeNoData && !time.Now().Before(rules.Deadline):
			return c.rollbackFailed("the release that was put back is not healthy either: "+v.Evidence,
				"old and new both fail: look at what they share (a database, a volume, the network); the service is paused until `agent resume "+c.dep.Service+"`", &v), nil
		}
		if err := c.pump(ctx, again); err != nil {
			return move{}, err
		}
	}
}
