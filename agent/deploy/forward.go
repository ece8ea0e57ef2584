package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
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
// is done, anything newer takes over and a human may cancel. It ends with one of
// the host's slots for an apply in hand.
func (c *cycle) fetch(ctx context.Context) (move, error) {
	if c.interrupted() && !time.Now().Before(c.dep.Deadlines.Fetch) {
		return c.superseded(agent.ReasonResumed, "its deadline passed while the agent was away; it is planned anew"), nil
	}
	err := c.overtaken(ctx)
	if err == nil {
		err = c.prepare(ctx)
	}
	if err == nil {
		err = c.takeSlot(ctx)
	}
	decision := c.dep.Decision
	switch {
	case err != nil && ctx.Err() != nil:
		return move{}, context.Cause(ctx)
	case decision != nil && decision.Verb == agent.VerbCancel:
		return move{to: agent.StateCancelled, reason: agent.ReasonCancelled, detail: "cancelled by " + decision.Actor}, nil
	case decision != nil && c.dep.Kind == agent.KindDeploy:
		return move{to: agent.StateCancelled, reason: agent.ReasonAborted, detail: "aborted by " + decision.Actor + " before anything was changed"}, nil
	case errors.Is(err, errOvertaken) && c.retired:
		return move{to: agent.StateCancelled, reason: agent.ReasonConfig, detail: "the service's config changed before anything was touched; it is planned anew"}, nil
	case errors.Is(err, errOvertaken):
		return c.superseded(agent.ReasonNewer, "something newer is wanted"), nil
	case err != nil:
		return c.failed(fetchReason(err), err), nil
	}
	if q := c.quarantineOf(c.dep.Fingerprint); q != nil && !c.dep.Force && c.dep.Kind == agent.KindDeploy {
		return c.superseded(agent.ReasonQuarantined, fmt.Sprintf("its images turned out to be those that deployment %d rolled back", q.Deployment)), nil
	}
	return move{to: agent.StateApplying, reason: agent.ReasonFetched}, nil
}

func fetchReason(err error) agent.Reason {
	switch {
	case errors.Is(err, errBefore):
		return agent.ReasonBeforeDeploy
	case errors.Is(err, agent.ErrSourceMissing):
		return agent.ReasonSourceMissing
	case errors.Is(err, agent.ErrNoSpace):
		return agent.ReasonNoSpace
	case errors.Is(err, errDeadline):
		return agent.ReasonFetchDeadline
	case errors.Is(err, errUnresolvable):
		return agent.ReasonUnresolvable
	}
	return agent.ReasonFetchFailed
}

// prepare resolves and fetches, records what was learned, and asks the service's
// own command for leave. The way back neither queues nor asks.
func (c *cycle) prepare(ctx context.Context) error {
	var rel agent.Release
	wanted := c.to
	fetchOnce := func(ctx context.Context) (err error) {
		if rel, err = c.resolve(ctx, wanted); err == nil {
			rel, err = c.Target.Fetch(ctx, c.svc, rel, nil)
		}
		return err
	}
	if c.back() {
		fetchOnce = repeated(fetchOnce)
	} else {
		fetchOnce = slotted(c.Limits.fetches, fetchOnce)
	}
	if err := c.persevere(ctx, c.dep.Deadlines.Fetch, fetchOnce, c.overtaken); err != nil {
		return err
	}
	if err := c.learn(ctx, rel); err != nil {
		return err
	}
	if c.Before == nil || len(c.svc.BeforeDeploy) == 0 || c.back() {
		return nil
	}
	if err := c.during(ctx, func(ctx context.Context) error { return c.Before(ctx, c.svc) }, c.overtaken); err != nil {
		return fmt.Errorf("%w: %w", errBefore, err)
	}
	return nil
}

// back tells that the deployment is a human's way back.
func (c *cycle) back() bool { return c.dep.Kind == agent.KindRollback }

// learn records what resolving and fetching have found out, before anything is
// applied.
func (c *cycle) learn(ctx context.Context, rel agent.Release) error {
	was := c.dep.Fingerprint
	written, err := c.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		dep := c.dep
		dep.Artifacts, dep.Fingerprint = rel.Artifacts, rel.Fingerprint
		dep.Irreversible = dep.Irreversible || rel.Irreversible && !c.back()
		if record.Wanted == was {
			record.Wanted = rel.Fingerprint
		}
		return agent.Entry{Deployment: &dep, Service: &record, Releases: []agent.Release{rel}}
	})
	if err != nil {
		return err
	}
	c.to, c.dep = rel, *written.Deployment
	return nil
}

// resolve gives a digest to what had none when the deployment was made.
func (c *cycle) resolve(ctx context.Context, rel agent.Release) (agent.Release, error) {
	rel.Artifacts = slices.Clone(rel.Artifacts)
	for i, a := range rel.Artifacts {
		if a.Digest != "" {
			continue
		}
		digest, err := c.digest(ctx, a, time.Time{}, c.from)
		if err != nil {
			return rel, fmt.Errorf("%w: %w", errUnresolvable, err)
		}
		rel.Artifacts[i].Digest = digest
	}
	if !rel.Partial {
		rel.Fingerprint = agent.Fingerprint(rel.Artifacts, rel.ConfigHash)
	}
	return rel, nil
}

// overtaken tells whether the fetch has lost its purpose. A way back only does by
// a human's word.
func (c *cycle) overtaken(ctx context.Context) error {
	if c.dep.Decision != nil || !c.back() && (c.retired || c.newer(ctx, nil)) {
		return errOvertaken
	}
	return nil
}

// takeSlot waits for the host to have time for another apply. The old release
// serves meanwhile, no deadline runs, and anything newer takes over.
func (c *cycle) takeSlot(ctx context.Context) error {
	if c.back() {
		return nil
	}
	err := c.during(ctx, func(ctx context.Context) error { return take(ctx, c.Limits.applies) }, c.overtaken)
	if err == nil {
		c.freeSlot = func() { <-c.Limits.applies }
	}
	return err
}

// apply makes the release serve. Nothing interrupts it: half an Apply is worse
// than a whole one that is undone.
func (c *cycle) apply(ctx context.Context) (move, error) {
	defer c.release()
	if c.interrupted() {
		if m, done := c.applied(ctx); done {
			return m, nil
		}
	}
	c.judgeRelease(&c.to, c.dep.Counters, true)
	rel := c.to
	applyOnce := func(ctx context.Context) error { return c.applyGracefully(ctx, rel) }
	if c.back() {
		applyOnce = repeated(applyOnce)
	}
	err := c.persevere(ctx, c.dep.Deadlines.Progress, applyOnce, nil)
	switch {
	case err != nil && ctx.Err() != nil:
		return move{}, context.Cause(ctx)
	case errors.Is(err, agent.ErrPreflight):
		return c.failed(agent.ReasonPreflight, err), nil
	case c.dep.Decided(agent.VerbRollback) && c.dep.Kind == agent.KindDeploy:
		return c.aborted(), nil
	case err == nil:
		c.evidence.Applied(time.Now())
		return move{to: agent.StateVerifying, reason: agent.ReasonApplied}, nil
	case errors.Is(err, agent.ErrUnreachable) && !c.back():
		return c.held(agent.ReasonUnreachable, err.Error(), nil), nil
	}
	reason := agent.ReasonApplyFailed
	if errors.Is(err, errDeadline) {
		reason = agent.ReasonProgressDeadline
	}
	return c.failing(agent.Verdict{
		At: time.Now(), Gate: "apply", Outcome: agent.OutcomeFail, Reason: reason, Action: agent.ActionRollback, Evidence: err.Error(),
	}), nil
}

// applied looks at the world after a crash in mid-Apply: what is finished is not
// done again, and what somebody else did is not undone.
func (c *cycle) applied(ctx context.Context) (move, bool) {
	running, err := c.lookAtRunning(ctx)
	if err != nil {
		return move{}, false
	}
	switch running.Serves(&c.to, c.from) {
	case agent.ServingNew:
		c.judgeRelease(&c.to, c.dep.Counters, false)
		return move{to: agent.StateVerifying, reason: agent.ReasonApplied, detail: "it was applied before the restart"}, true
	case agent.ServingOther:
		if running.Identity() != c.dep.Before { // else nothing has happened since the intent
			return c.superseded(agent.ReasonForeign, "somebody else changed what serves while the agent was away"), true
		}
	}
	return move{}, false
}

func (c *cycle) applyGracefully(ctx context.Context, rel agent.Release) error {
	ctx, cancel := graceful(ctx, applyGrace)
	defer cancel()
	return c.Target.Apply(ctx, c.svc, rel, 100)
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
