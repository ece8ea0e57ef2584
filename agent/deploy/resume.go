package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// applyTime is what a step that changes what serves is given when its deadline
// passed while the agent was away.
const applyTime = time.Minute

// unfinished returns the deployment that a process that is gone has left open.
func (w *Worker) unfinished() (agent.Deployment, bool, error) {
	all, err := w.Recorder.Deployments(agent.HistoryFilter{Service: w.svc.Name, Limit: 1})
	if err != nil {
		return agent.Deployment{}, false, fmt.Errorf("looking for an open deployment of service %q: %w", w.svc.Name, err)
	}
	if len(all) == 0 {
		return agent.Deployment{}, false, nil
	}
	w.last = all[0].ID
	return all[0], !all[0].State.Ended(), nil
}

// finish goes on with an open deployment: the record says what was intended, each
// step looks at the world and finishes or undoes it.
func (w *Worker) finish(ctx context.Context, dep agent.Deployment) error {
	c, err := w.reopen(dep)
	if err != nil {
		return err
	}
	c.resumed, c.resumedIn = time.Now(), dep.State
	c.dirty = true // what is wanted may have changed while nobody looked
	w.Log.Info("deployment goes on after a restart", "service", dep.Service, "deployment", dep.ID, "state", dep.State)
	written, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		next := c.dep
		next.Counters.Resumed++
		c.granted = c.grant(&next)
		next.Timeline = append(slices.Clone(next.Timeline), agent.Step{At: c.resumed, State: next.State, Reason: agent.ReasonResumed, Detail: "the agent was restarted"})
		return agent.Entry{Service: &record, Deployment: &next, Event: &agent.Event{
			At: c.resumed, Kind: agent.EventTransition, Service: next.Service, Deployment: next.ID, From: next.State, To: next.State,
			Reason: agent.ReasonResumed, Message: "the agent was restarted", Severity: agent.SeverityInfo,
		}}
	})
	if err != nil {
		return err
	}
	c.dep = *written.Deployment
	return w.drive(ctx, c)
}

// reopen makes the cycle of a recorded deployment.
func (w *Worker) reopen(dep agent.Deployment) (*cycle, error) {
	c := &cycle{Worker: w, dep: dep}
	for _, need := range []struct {
		number int64
		take   func(agent.Release)
	}{
		{dep.To, func(r agent.Release) { c.to = r }},
		{dep.From, func(r agent.Release) { c.from = &r }},
		{dep.Restored, func(r agent.Release) { c.restored = r }},
	} {
		if need.number == 0 {
			continue
		}
		rel, err := w.Recorder.Release(dep.Service, need.number)
		if err != nil {
			return nil, fmt.Errorf("loading release %s of open deployment %d: %w", agent.ReleaseName(need.number), dep.ID, err)
		}
		need.take(rel)
	}
	if dep.Restored != 0 {
		source, err := w.Recorder.Release(dep.Service, c.restored.Restores)
		if err != nil {
			return nil, fmt.Errorf("loading the release that %s restores: %w", agent.ReleaseName(dep.Restored), err)
		}
		c.source = source
	}
	return c, nil
}

// grant gives the gate one full look before a deadline that passed, or nearly so,
// while the agent was away may count, and a step that changes what serves the time
// to be done. It is counted: once per deployment. Only a rollback that is due is
// tried after every restart.
func (c *cycle) grant(d *agent.Deployment) bool {
	atLeast := func(t *time.Time) {
		*t = judge.Later(*t, c.resumed.Add(applyTime))
	}
	if d.State == agent.StateRollingBack {
		atLeast(&d.Deadlines.Rollback)
	}
	if d.Counters.FullLook {
		return false
	}
	switch d.State {
	case agent.StateApplying:
		atLeast(&d.Deadlines.Progress)
	case agent.StateVerifying, agent.StateWatching, agent.StateRollingBack:
	default:
		return false
	}
	d.Counters.FullLook = true
	return true
}
