package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/history"
)

// Order hands an order to the worker of its service.
func (d *Daemon) Order(ctx context.Context, order agent.Order) (agent.Receipt, error) {
	if order.Service == "" && order.Deployment != 0 {
		dep, err := d.Deployment(order.Deployment)
		if err != nil {
			return agent.Receipt{}, err
		}
		order.Service = dep.Service
	}
	d.mu.Lock()
	known := d.names()
	s, found := d.services[order.Service]
	var worker *deploy.Worker
	if found {
		worker = s.current()
	}
	d.mu.Unlock()
	switch {
	case !found:
		return agent.Receipt{}, agent.WithHint(fmt.Errorf("there is no service %q", order.Service), "the services are: "+known)
	case s.broken != nil:
		return agent.Receipt{}, agent.WithHint(fmt.Errorf("service %q is disabled: %w", order.Service, s.broken.Faults), "mend its config; `agent check` shows every fault")
	}
	return worker.Order(ctx, order)
}

// names lists the services, for a hint. The lock is held.
func (d *Daemon) names() string {
	names := make([]string, 0, len(d.services))
	for name := range d.services {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Status tells how every service is, by name.
func (d *Daemon) Status(context.Context) ([]agent.Status, error) {
	d.mu.Lock()
	all := make([]running, 0, len(d.services))
	for _, s := range d.services {
		present := *s
		present.worker = s.current()
		all = append(all, present)
	}
	d.mu.Unlock()
	statuses := make([]agent.Status, 0, len(all))
	for _, s := range all {
		statuses = append(statuses, d.status(s))
	}
	slices.SortFunc(statuses, func(a, b agent.Status) int { return cmp.Compare(a.Service, b.Service) })
	return statuses, nil
}

func (d *Daemon) status(s running) agent.Status {
	if s.broken != nil {
		st := agent.Status{
			Service: s.svc.Name, Target: s.svc.Target, State: "invalid", Healthy: "unknown", Error: s.broken.Faults.Error(),
			Plan: agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonInvalid, Detail: "its config has faults"},
		}
		if len(s.broken.Faults) > 0 {
			st.Hint = s.broken.Faults[0].Hint
		}
		return st
	}
	st := s.worker.Status()
	if problem := d.watcher.Problems()[s.svc.Name]; problem != nil {
		st.Warnings = append(slices.Clone(st.Warnings), problem.Error())
	}
	return st
}

// Deployments returns deployments, newest first.
func (d *Daemon) Deployments(filter agent.HistoryFilter) ([]agent.Deployment, error) {
	return d.store.Deployments(filter)
}

// Deployment returns one deployment.
func (d *Daemon) Deployment(id int64) (agent.Deployment, error) {
	dep, err := d.store.Deployment(id)
	if errors.Is(err, history.ErrNotFound) {
		err = agent.WithHint(err, "`agent history` lists them")
	}
	return dep, err
}

// Release returns one release.
func (d *Daemon) Release(service string, number int64) (agent.Release, error) {
	return d.store.Release(service, number)
}

// Events returns at most limit events after the one numbered after.
func (d *Daemon) Events(after uint64, limit int) ([]agent.Event, error) {
	return d.store.Events(after, limit)
}

// LastEvent returns the number of the newest event.
func (d *Daemon) LastEvent() (uint64, error) { return d.store.LastEvent() }

// Changed is closed when the history has changed.
func (d *Daemon) Changed() <-chan struct{} { return d.store.Changed() }

func (d *Daemon) tellAgent(message string, severity agent.Severity) {
	_, err := d.store.Record(agent.Entry{Event: &agent.Event{At: time.Now(), Kind: agent.EventAgent, Message: message, Severity: severity}})
	if err != nil {
		d.log.Error("recording an event", "error", err)
	}
}
