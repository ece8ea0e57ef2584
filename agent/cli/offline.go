package cli

import (
	"context"
	"fmt"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
	"rollback-agent/agent/history"
)

// offline is the history, read without an agent.
type offline struct{ *history.Store }

// Status is what was recorded last; nobody looks at what really serves.
// Notices are the running agent's own.
func (o offline) Notices(context.Context) ([]agent.Notice, error) { return nil, nil }

func (o offline) Status(context.Context) ([]agent.Status, error) {
	services, err := o.Services()
	if err != nil {
		return nil, err
	}
	all := []agent.Status{}
	for _, record := range services {
		status, err := o.status(record)
		if err != nil {
			return nil, err
		}
		all = append(all, status)
	}
	return all, nil
}

func (o offline) status(record agent.ServiceRecord) (agent.Status, error) {
	status := agent.Status{
		Service: record.Name, State: "unknown", Release: record.Serving, Healthy: "unknown", Artifacts: []agent.Artifact{},
		Plan: agent.Plan{Action: agent.PlanWait, Detail: "the agent is not running; this is what it recorded last"},
	}
	if record.Pause.Active(time.Now()) {
		status.Pause = record.Pause
	}
	if rel, err := o.Store.Release(record.Name, record.Serving); err == nil {
		status.Standing, status.Artifacts, status.Since = rel.Standing, rel.Artifacts, rel.CreatedAt
	}
	last, err := o.Store.Deployments(agent.HistoryFilter{Service: record.Name, Limit: 1})
	if err != nil {
		return status, err
	}
	if len(last) > 0 {
		status.Deployment, status.Target = last[0].ID, last[0].Config.Target
		if !last[0].State.Ended() {
			status.State = string(last[0].State)
			status.Warnings = []string{fmt.Sprintf("deployment %d is open; the agent goes on with it when it starts", last[0].ID)}
		}
	}
	status.Quarantine, err = o.Quarantine(record.Name)
	return status, err
}

func (o offline) Deployments(_ context.Context, filter agent.HistoryFilter) ([]control.Deployment, error) {
	all, err := o.Store.Deployments(filter)
	now, out := time.Now(), make([]control.Deployment, len(all))
	for i, d := range all {
		out[i] = control.Outgoing(d, now)
	}
	return out, err
}

func (o offline) Deployment(_ context.Context, id int64) (control.Deployment, error) {
	d, err := o.Store.Deployment(id)
	return control.Outgoing(d, time.Now()), err
}

func (o offline) Release(_ context.Context, service string, n int64) (agent.Release, error) {
	return o.Store.Release(service, n)
}

func (o offline) LastEvents(_ context.Context, n int, follow bool, _ func() error, report func(agent.Event) error) error {
	if follow {
		return agent.WithHint(fmt.Errorf("following events: %w", control.ErrNotRunning), "systemctl start rollback-agent")
	}
	last, err := o.LastEvent()
	if err != nil {
		return err
	}
	events, err := o.Events(last-min(last, uint64(n)), 0)
	if err != nil {
		return err
	}
	for _, event := range events {
		if err := report(event); err != nil {
			return err
		}
	}
	return nil
}
