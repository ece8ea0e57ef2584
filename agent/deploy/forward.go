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

// applyGrace is how long an Apply in hand may go on when the agent is told to
// stop. Cutting it short would leave half of each release.
const applyGrace = 30 * time.Second

// start leaves the queue at once: delays are waited out before a deployment is
// made. What already serves has nothing to fetch or apply.
func (c *cycle) start(context.Context) (move, error) {
	if c.dep.Kind == agent.KindAdopt {
		return move{to: agent.StateVerifying, reason: agent.ReasonAdopt, detail: "nothing is changed; it is watched until it has proved its health"}, nil
	}
	return move{to: agent.StateFetching, reason: agent.ReasonStarted}, nil
}

// fetch brings everything the release needs while the old one serves. Until it
// is done, anything newer takes over and a human may cancel.
func (c *cycle) fetch(ctx context.Context) (move, error) {
	c.dirty = c.dirty || c.resumed // what is wanted may have changed while nobody looked
	err := c.overtaken(ctx)
	if err == nil {
		err = c.turn(ctx, c.Limits.fetches, c.overtaken, func() error { return c.prepare(ctx) })
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return move{}, context.Cause(ctx)
	case c.cancelled != nil:
		return move{to: agent.StateCancelled, reason: agent.ReasonCancelled, detail: "cancelled by " + c.cancelled.Actor}, nil
	case c.aborted != nil:
		return move{to: agent.StateCancelled, reason: agent.ReasonAborted, detail: "aborted by " + c.aborted.Actor + " before anything was changed"}, nil
	case errors.Is(err, errOvertaken):
		return c.superseded(agent.ReasonNewer, "something newer is wanted"), nil
	case errors.Is(err, errBefore):
		return c.failed(agent.ReasonBeforeDeploy, err), nil
	case errors.Is(err, errDeadline):
		return c.failed(agent.ReasonFetchDeadline, err), nil
	case errors.Is(err, errUnresolvable):
		return c.failed(agent.ReasonUnresolvable, err), nil
	case err != nil:
		return c.failed(agent.ReasonFetchFailed, err), nil
	}
	if q := c.quarantineOf(c.dep.Fingerprint); q != nil && !c.force {
		return c.superseded(agent.ReasonQuarantined, fmt.Sprintf("its images turned out to be those that deployment %d rolled back", q.Deployment)), nil
	}
	return move{to: agent.StateApplying, reason: agent.ReasonFetched}, nil
}

// prepare resolves and fetches, records what was learned, and asks the service's
// own command for leave.
func (c *cycle) prepare(ctx context.Context) error {
	var rel agent.Release
	err := c.persevere(ctx, c.dep.Deadlines.Fetch, func(ctx context.Context) (err error) {
		if rel, err = c.resolve(ctx, c.to); err == nil {
			rel, err = c.Target.Fetch(ctx, c.svc, rel, nil)
		}
		return err
	}, c.overtaken)
	if err != nil {
		return err
	}
	if err := c.learn(ctx, rel); err != nil {
		return err
	}
	if c.Before == nil || len(c.svc.BeforeDeploy) == 0 {
		return nil
	}
	if err := c.during(ctx, func(ctx context.Context) error { return c.Before(ctx, c.svc) }, c.overtaken); err != nil {
		return fmt.Errorf("%w: %w", errBefore, err)
	}
	return nil
}

// learn records what resolving and fetching have found out, before anything is
// applied.
func (c *cycle) learn(ctx context.Context, rel agent.Release) error {
	dep, record := c.dep, c.record
	dep.Artifacts, dep.Fingerprint = rel.Artifacts, rel.Fingerprint
	if record.Wanted == c.dep.Fingerprint {
		record.Wanted = rel.Fingerprint
	}
	if err := c.persist(ctx, agent.Entry{Deployment: &dep, Service: &record, Releases: []agent.Release{rel}}); err != nil {
		return err
	}
	c.to, c.dep = rel, dep
	return nil
}

// resolve gives a digest to what had none when the deployment was made.
func (c *cycle) resolve(ctx context.Context, rel agent.Release) (agent.Release, error) {
	rel.Artifacts = slices.Clone(rel.Artifacts)
	for i, a := range rel.Artifacts {
		if a.Digest != "" {
			continue
		}
		digest, err := c.digest(ctx, a)
		if err != nil {
			return rel, fmt.Errorf("%w: %w", errUnresolvable, err)
		}
		rel.Artifacts[i].Digest = digest
	}
	rel.Fingerprint = agent.Fingerprint(rel.Artifacts, rel.ConfigHash)
	return rel, nil
}

// overtaken tells whether the fetch has lost its purpose.
func (c *cycle) overtaken(ctx context.Context) error {
	if c.cancelled != nil || c.aborted != nil {
		return errOvertaken
	}
	if c.newer(ctx) {
		return errOvertaken
	}
	return nil
}

// apply makes the release serve. Nothing interrupts it: half an Apply is worse
// than a whole one that is undone.
func (c *cycle) apply(ctx context.Context) (move, error) {
	c.judgeRelease(&c.to, c.dep.Counters)
	if c.resumed {
		if m, done := c.applied(ctx); done {
			return m, nil
		}
	}
	err := c.turn(ctx, c.Limits.applies, nil, func() error {
		return c.persevere(ctx, c.dep.Deadlines.Progress, c.applyNow, nil)
	})
	switch {
	case err == nil:
		return move{to: agent.StateVerifying, reason: agent.ReasonApplied}, nil
	case ctx.Err() != nil:
		return move{}, context.Cause(ctx)
	case errors.Is(err, agent.ErrPreflight):
		return c.failed(agent.ReasonPreflight, err), nil
	case errors.Is(err, agent.ErrUnreachable):
		return c.held(agent.ReasonUnreachable, err.Error(), nil), nil
	}
	reason := agent.ReasonApplyFailed
	if errors.Is(err, errDeadline) {
		reason = agent.ReasonProgressDeadline
	}
	return c.failing(c.actionable(agent.Verdict{Gate: "apply", Reason: reason, Evidence: err.Error()})), nil
}

// applied looks at the world after a crash in mid-Apply: what is finished is not
// done again, and what somebody else did is not undone.
func (c *cycle) applied(ctx context.Context) (move, bool) {
	switch serving := c.lookUp(ctx); serving {
	case agent.ServingNew:
		return move{to: agent.StateVerifying, reason: agent.ReasonApplied, detail: "it was applied before the restart"}, true
	case agent.ServingOther:
		return c.superseded(agent.ReasonForeign, "somebody else changed what serves while the agent was away"), true
	}
	return move{}, false
}

func (c *cycle) applyNow(ctx context.Context) error {
	ctx, cancel := graceful(ctx, applyGrace)
	defer cancel()
	return c.Target.Apply(ctx, c.svc, c.to, 100)
}

// graceful outlives its parent by grace, so that a step that must not be cut
// short can end when the agent is told to stop. A deadline is a deadline.
func graceful(parent context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		cause := context.Cause(parent)
		if errors.Is(cause, errDeadline) {
			cancel(cause)
			return
		}
		time.AfterFunc(grace, func() { cancel(cause) })
	})
	return ctx, func() { stop(); cancel(nil) }
}

// verify waits until the release has proved its health, or has not in time.
func (c *cycle) verify(ctx context.Context) (move, error) {
	c.look(&c.to)
	fullLook := c.fullLook(c.dep.Deadlines.Health)
	for {
		rules := c.healthRules(fullLook)
		verdict, again := judge.Gate(rules, c.evidence, time.Now())
		if m, done := c.settled(ctx, verdict, rules, agent.StateWatching); done {
			return m, nil
		}
		if err := c.pump(ctx, again); err != nil {
			return move{}, err
		}
		c.newer(ctx) // news waits for the end of the gate; who asks for what is under way is answered
	}
}

// watch lets the gates go on: what was healthy for ten seconds may not be for
// sixty. Something newer does not wait for the end.
func (c *cycle) watch(ctx context.Context) (move, error) {
	c.look(&c.to)
	fullLook := c.fullLook(c.dep.Deadlines.Watch)
	for {
		rules := c.watchRules(fullLook)
		verdict, again := judge.Gate(rules, c.evidence, time.Now())
		if m, done := c.settled(ctx, verdict, rules, agent.StateSucceeded); done {
			return m, nil
		}
		if err := c.pump(ctx, again); err != nil {
			return move{}, err
		}
		if c.newer(ctx) {
			return c.superseded(agent.ReasonNewer, "something newer is wanted"), nil
		}
	}
}

// settled turns a verdict, or what somebody else did, into a move.
func (c *cycle) settled(ctx context.Context, v agent.Verdict, rules judge.Rules, passed agent.State) (move, bool) {
	switch {
	case c.aborted != nil && c.dep.Kind == agent.KindDeploy:
		return c.rollingBack(move{reason: agent.ReasonAborted, detail: "aborted by " + c.aborted.Actor}), true
	case v.Outcome == agent.OutcomeFail:
		return c.failing(v), true
	case c.foreign(ctx, &c.to):
		return c.superseded(agent.ReasonForeign, "somebody else changed what serves"), true
	case v.Outcome == agent.OutcomePass:
		return move{to: passed, reason: v.Reason, detail: v.Evidence, verdict: &v}, true
	case v.Outcome == agent.OutcomeNoData && !rules.Deadline.IsZero() && !time.Now().Before(rules.Deadline):
		return c.held(agent.ReasonUnreachable, "the deadline passed while its instances could not be seen", &v), true
	}
	return move{}, false
}

// hold waits for a human, or for the end of patience. A release that turns bad
// meanwhile is rolled back, unless a failure is why it is held.
func (c *cycle) hold(ctx context.Context) (move, error) {
	c.look(&c.to)
	for {
		switch now := time.Now(); {
		case c.kept != nil:
			return move{to: agent.StateSucceeded, reason: agent.ReasonKept, detail: "kept by " + c.kept.Actor}, nil
		case c.aborted != nil:
			return c.rollingBack(move{reason: agent.ReasonAborted, detail: "rolled back by " + c.aborted.Actor}), nil
		case !now.Before(c.dep.Deadlines.Hold):
			return c.holdExpired(), nil
		case c.foreign(ctx, &c.to):
			return c.superseded(agent.ReasonForeign, "somebody else changed what serves"), nil
		}
		v, _ := judge.Gate(judge.Rules{MinHealthy: c.svc.MinHealthyTime, MaxRestarts: c.svc.MaxRestarts}, c.evidence, time.Now())
		if v.Outcome == agent.OutcomeFail && c.dep.Reason == agent.ReasonUnreachable && c.svc.OnFailure == agent.ActionRollback {
			return c.failing(v), nil
		}
		if err := c.pump(ctx, c.dep.Deadlines.Hold); err != nil {
			return move{}, err
		}
		if c.newer(ctx) {
			return c.superseded(agent.ReasonNewer, "something newer is wanted"), nil
		}
	}
}

func (c *cycle) holdExpired() move {
	detail := "nobody decided within " + c.svc.HoldFor.String()
	if c.svc.OnHoldExpiry == agent.HoldExpiryRollback {
		return c.rollingBack(move{reason: agent.ReasonHoldExpired, detail: detail})
	}
	return move{to: agent.StateSucceeded, reason: agent.ReasonHoldExpired, detail: detail + "; kept, but not counted as stable", severity: agent.SeverityWarning}
}

// actionable completes a failed verdict that no gate gave.
func (c *cycle) actionable(v agent.Verdict) agent.Verdict {
	v.At, v.Outcome, v.Action = time.Now(), agent.OutcomeFail, agent.ActionRollback
	return v
}
