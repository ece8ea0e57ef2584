package deploy

import (
	"context"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// verify waits until the release has proved its health, or has not in time. News
// waits for the end of the gate.
func (c *cycle) verify(ctx context.Context) (move, error) {
	c.look(&c.to)
	for {
		rules := c.healthRules()
		verdict, again := judge.Gate(rules, c.evidence, time.Now())
		if m, done := c.settled(ctx, verdict, rules, agent.StateWatching); done {
			return m, nil
		}
		if c.dep.Kind == agent.KindAdopt && c.pendingRollback() {
			return c.superseded(agent.ReasonNewer, "a human wants an older release"), nil
		}
		if c.dirty {
			c.newer(ctx, c.gateFailed(rules))
			continue // looking takes time
		}
		if err := c.pump(ctx, again); err != nil {
			return move{}, err
		}
	}
}

// watch lets the gates go on: what was healthy for ten seconds may not be for
// sixty. Something newer does not wait for the end.
func (c *cycle) watch(ctx context.Context) (move, error) {
	c.look(&c.to)
	for {
		rules := c.watchRules()
		verdict, again := judge.Gate(rules, c.evidence, time.Now())
		if m, done := c.settled(ctx, verdict, rules, agent.StateSucceeded); done {
			return m, nil
		}
		if c.newer(ctx, c.gateFailed(rules)) {
			return c.superseded(agent.ReasonNewer, "something newer is wanted"), nil
		}
		if c.dirty {
			continue // the look was interrupted by a verdict
		}
		if err := c.pump(ctx, again); err != nil {
			return move{}, err
		}
	}
}

// gateFailed interrupts whatever else is looked at when the gate fails.
func (c *cycle) gateFailed(rules judge.Rules) func(context.Context) error {
	return func(context.Context) error {
		if v, _ := judge.Gate(rules, c.evidence, time.Now()); v.Outcome == agent.OutcomeFail {
			return errOvertaken
		}
		return nil
	}
}

// settled turns a verdict, or what somebody else did, into a move.
func (c *cycle) settled(ctx context.Context, v agent.Verdict, rules judge.Rules, passed agent.State) (move, bool) {
	switch {
	case c.dep.Decided(agent.VerbRollback) && c.dep.Kind == agent.KindDeploy:
		return c.aborted(), true
	case c.foreign(ctx, &c.to, c.from, agent.ServingOther, agent.ServingOld):
		return c.superseded(agent.ReasonForeign, "somebody else changed what serves"), true
	case v.Outcome == agent.OutcomeFail:
		return c.failing(v), true
	case v.Outcome == agent.OutcomePass:
		return move{to: passed, reason: v.Reason, detail: v.Evidence, verdict: &v}, true
	case v.Outcome == agent.OutcomeNoData && !rules.Deadline.IsZero() && !time.Now().Before(rules.Deadline):
		return c.held(agent.ReasonUnreachable, "the deadline passed while its instances could not be seen", &v), true
	}
	return move{}, false
}

// hold waits for a human, or for the end of patience. What could not be seen and
// turns out bad is treated as it would have been.
func (c *cycle) hold(ctx context.Context) (move, error) {
	c.look(&c.to)
	rules := judge.Rules{MinHealthy: c.svc.MinHealthyTime, MaxRestarts: c.svc.MaxRestarts}
	for {
		v, _ := judge.Gate(rules, c.evidence, time.Now())
		switch {
		case c.dep.Decided(agent.VerbKeep):
			return move{to: agent.StateSucceeded, reason: agent.ReasonKept, detail: "kept by " + c.dep.Decision.Actor}, nil
		case c.dep.Decided(agent.VerbRollback) && c.dep.Kind == agent.KindDeploy:
			return c.aborted(), nil
		case !time.Now().Before(c.dep.Deadlines.Hold):
			return c.holdExpired(ctx), nil
		case c.foreign(ctx, &c.to, c.from, agent.ServingOther):
			return c.superseded(agent.ReasonForeign, "somebody else changed what serves"), nil
		case v.Outcome == agent.OutcomeFail && c.dep.Reason == agent.ReasonUnreachable && c.svc.OnFailure == agent.ActionRollback && !c.irreversible():
			return c.failing(v), nil
		}
		if c.newer(ctx, nil) {
			return c.superseded(agent.ReasonNewer, "something newer is wanted"), nil
		}
		if err := c.pump(ctx, c.dep.Deadlines.Hold); err != nil {
			return move{}, err
		}
	}
}

// holdExpired keeps only what really serves.
func (c *cycle) holdExpired(ctx context.Context) move {
	detail := "nobody decided within " + c.svc.HoldFor.String()
	if c.svc.OnHoldExpiry == agent.HoldExpiryRollback && c.dep.Kind == agent.KindDeploy && !c.irreversible() {
		return c.rollingBack(move{reason: agent.ReasonHoldExpired, detail: detail})
	}
	if serving := c.lookUp(ctx); serving != agent.ServingNew {
		return move{
			to: agent.StateFailed, reason: agent.ReasonHoldExpired, severity: agent.SeverityCritical,
			detail: detail + ", and it does not serve", hint: "`agent retry " + c.dep.Service + "` applies it again",
		}
	}
	return move{to: agent.StateSucceeded, reason: agent.ReasonHoldExpired, detail: detail + "; kept, but not counted as stable", severity: agent.SeverityWarning}
}
