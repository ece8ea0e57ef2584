package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// cycle is one open deployment in the hands of its worker.
type cycle struct {
	*Worker
	dep      agent.Deployment
	to       agent.Release  // what shall serve; with its snapshot
	from     *agent.Release // what served before, nil for nothing
	restored agent.Release  // what a rollback puts back
	source   agent.Release  // what restored restores

	resumed    time.Time   // when a process took the deployment over from one that is gone; zero: it began here
	resumedIn  agent.State // the state that it was in then
	granted    bool        // the one full look after a restart
	stopProbes func()
	freeSlot   func() // gives the host's slot for an apply back
}

// The whole cycle:
//
//	queued → fetching → applying → verifying → watching → succeeded
//	                        └──────────┴───────────┴──▶ rolling_back → rolled_back
//
// Each step blocks in its state until it knows the next one. What it needs to go
// on after a crash is in the record already, so every step may be entered twice.
func (c *cycle) step() func(context.Context) (move, error) {
	switch c.dep.State {
	case agent.StateQueued:
		return c.start
	case agent.StateFetching:
		return c.fetch
	case agent.StateApplying:
		return c.apply
	case agent.StateVerifying:
		return c.verify
	case agent.StateWatching:
		return c.watch
	case agent.StateHeld:
		return c.hold
	default:
		return c.rollBack
	}
}

// interrupted tells whether another process may have left the present step half
// done. A step that this process entered is its own.
func (c *cycle) interrupted() bool { return !c.resumed.IsZero() && c.dep.State == c.resumedIn }

// run drives the deployment to its end. An error means that the agent stops:
// the record says where to go on.
func (c *cycle) run(ctx context.Context) error {
	defer c.release()
	if !c.resumed.IsZero() {
		c.learnSecrets(ctx)
	}
	for !c.dep.State.Ended() {
		next, err := c.step()(ctx)
		if err != nil {
			return err
		}
		if next.to == agent.StateHeld { // whoever decides wants to know why
			if err := c.diagnose(ctx); err != nil {
				return err
			}
		}
		if err := c.advance(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// release lets go of everything that the deployment held.
func (c *cycle) release() {
	c.endProbes()
	if c.freeSlot != nil {
		c.freeSlot()
		c.freeSlot = nil
	}
}

// move is a step's answer: the next state, and why.
type move struct {
	to       agent.State
	reason   agent.Reason
	detail   string
	hint     string
	verdict  *agent.Verdict
	severity agent.Severity
	back     *agent.Release // of a move to rolling_back: the release to put back
}

// advance is the one place where a deployment changes its state: it checks the
// move, records it with everything that follows from it, logs it once, and only
// then lets the cycle go on.
func (c *cycle) advance(ctx context.Context, m move) error {
	from := c.dep.State
	if !from.May(m.to) {
		return fmt.Errorf("moving deployment %d from %s to %s (%s): no such transition", c.dep.ID, from, m.to, m.reason)
	}
	m = c.redacted(m)
	serving := agent.ServingUnknown
	if m.to.Ended() {
		serving = c.lookUp(ctx)
	}
	written, err := c.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		return c.consequences(record, c.moved(m, serving), m)
	})
	if err != nil {
		return err
	}
	c.dep = *written.Deployment
	c.takeReleases(written.Releases)
	c.log(from, m)
	c.publish()
	return nil
}

// moved is the deployment after the move.
func (c *cycle) moved(m move, serving agent.Serving) agent.Deployment {
	next, now := c.dep, time.Now()
	next.State, next.Reason, next.Message, next.Hint = m.to, m.reason, m.detail, m.hint
	next.Timeline = append(slices.Clone(next.Timeline), agent.Step{At: now, State: m.to, Reason: m.reason, Detail: m.detail})
	if m.verdict != nil {
		next.Verdicts = append(slices.Clone(next.Verdicts), *m.verdict)
	}
	if c.evidence != nil && c.evidence.Release == &c.to { // what served before has exits of its own
		next.Counters.Exits, next.Counters.Baseline = c.evidence.Counters()
	}
	if m.to.Ended() {
		next.EndedAt, next.Serving = now, serving
	}
	return next
}

// takeReleases keeps the cycle's copies as they were recorded.
func (c *cycle) takeReleases(releases []agent.Release) {
	for _, r := range releases {
		switch r.Number {
		case c.dep.To:
			c.to.Standing = r.Standing
		case c.dep.Restored:
			r.Snapshot = c.source.Snapshot
			c.restored = r
		}
	}
}

func (c *cycle) log(from agent.State, m move) {
	log := c.Log.With("service", c.dep.Service, "deployment", c.dep.ID, "from", from, "to", m.to, "reason", m.reason)
	if severity(m) == agent.SeverityInfo {
		log.Info("deployment moved", "detail", m.detail)
		return
	}
	log.Warn("deployment moved", "detail", m.detail)
}

func severity(m move) agent.Severity {
	switch {
	case m.severity != "":
		return m.severity
	case m.to == agent.StateRollbackFailed:
		return agent.SeverityCritical
	case m.to == agent.StateRollingBack, m.to == agent.StateRolledBack, m.to == agent.StateFailed:
		return agent.SeverityError
	case m.to == agent.StateHeld:
		return agent.SeverityWarning
	}
	return agent.SeverityInfo
}

// lookUp asks the world what serves now. It never asks for long.
func (c *cycle) lookUp(ctx context.Context) agent.Serving {
	running, err := c.lookAtRunning(ctx)
	if err != nil {
		c.Log.Warn("what serves could not be looked up", "service", c.dep.Service, "deployment", c.dep.ID, "error", err)
		return agent.ServingUnknown
	}
	return running.Serves(&c.to, c.old())
}

// old is what serves if the deployment's own release does not.
func (c *cycle) old() *agent.Release {
	if c.dep.Restored != 0 {
		return &c.restored
	}
	return c.from
}

// judgeRelease turns the eyes of the worker to one release. What is dead before
// Apply is not its doing.
func (c *cycle) judgeRelease(rel *agent.Release, counters agent.Counters, beforeApply bool) {
	c.evidence = judge.NewEvidence(rel, c.svc.Health.Gates(), counters)
	c.picture.cleared = 0
	if beforeApply {
		c.evidence.Begin(c.picture.snapshot())
		return
	}
	c.evidence.Observe(c.picture.snapshot())
}
