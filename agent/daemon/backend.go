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
	"rollback-agent/agent/config"
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
	s := d.slots[order.Service]
	var worker *deploy.Worker
	var now present
	if s != nil {
		worker, now = s.worker, s.now
	}
	d.mu.Unlock()
	switch {
	case worker != nil: // whatever the config says: it has the service in hand
		receipt, err := worker.Order(ctx, order)
		return d.unasked(order, receipt), err
	case now.broken != nil:
		return agent.Receipt{}, agent.WithHint(fmt.Errorf("service %q is disabled: %w", order.Service, now.broken.Faults), "mend its config; `agent check` shows every fault")
	case now.svc != nil:
		return agent.Receipt{}, agent.WithHint(fmt.Errorf("service %q is being started", order.Service), "try again in a moment")
	}
	return agent.Receipt{}, agent.WithHint(fmt.Errorf("there is no service %q", order.Service), "the services are: "+known)
}

// unasked says of a plan that a registry could not be asked for it: what it said last
// counted.
func (d *Daemon) unasked(order agent.Order, receipt agent.Receipt) agent.Receipt {
	problem := d.images.Problems()[order.Service]
	if problem != nil && receipt.Plan.Action != "" && receipt.Hint == "" {
		receipt.Hint = problem.Error() + "; what was known before counts meanwhile"
	}
	return receipt
}

// names lists the services, for a hint. The lock is held.
func (d *Daemon) names() string {
	names := make([]string, 0, len(d.slots))
	for name, s := range d.slots {
		if !s.now.gone() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Status tells how every service is, by name.
func (d *Daemon) Status(context.Context) ([]agent.Status, error) {
	type seen struct {
		name   string
		now    present
		worker *deploy.Worker
	}
	d.mu.Lock()
	all := make([]seen, 0, len(d.slots))
	for name, s := range d.slots {
		all = append(all, seen{name, s.now, s.worker})
	}
	d.mu.Unlock()
	statuses := make([]agent.Status, 0, len(all))
	for _, s := range all {
		switch {
		case s.worker != nil:
			statuses = append(statuses, d.workerStatus(s.worker, s.now))
		case s.now.broken != nil:
			statuses = append(statuses, brokenStatus(s.now.broken))
		case s.now.svc != nil:
			statuses = append(statuses, agent.Status{Service: s.name, Target: s.now.svc.Target, State: "starting", Healthy: "unknown"})
		}
	}
	slices.SortFunc(statuses, func(a, b agent.Status) int { return cmp.Compare(a.Service, b.Service) })
	return statuses, nil
}

func (d *Daemon) workerStatus(w *deploy.Worker, now present) agent.Status {
	st := w.Status()
	for _, problems := range []map[string]error{d.watcher.Problems(), d.images.Problems()} {
		if problem := problems[st.Service]; problem != nil {
			st.Warnings = append(slices.Clone(st.Warnings), problem.Error())
			st.Hint = cmp.Or(st.Hint, agent.Hint(problem))
		}
	}
	switch {
	case now.gone():
		st.Warnings = append(slices.Clone(st.Warnings), "it was taken out of the config; its open deployment ends first")
	case now.broken != nil:
		st.Warnings = append(slices.Clone(st.Warnings), "its config has faults now; its open deployment ends first: "+now.broken.Faults.Error())
	}
	return st
}

func brokenStatus(b *config.Broken) agent.Status {
	st := agent.Status{
		Service: b.Service.Name, Target: b.Service.Target, State: "invalid", Healthy: "unknown", Error: b.Faults.Error(),
		Plan: agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonInvalid, Detail: "its config has faults"},
	}
	if len(b.Faults) > 0 {
		st.Hint = b.Faults[0].Hint
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

// tell records an event about the agent itself, or about a service as a whole.
func (d *Daemon) tell(service string, reason agent.Reason, message string, severity agent.Severity) {
	d.record(agent.Event{Kind: agent.EventAgent, Service: service, Reason: reason, Message: message, Severity: severity})
}

// record records an event that belongs to no deployment.
func (d *Daemon) record(e agent.Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if _, err := d.store.Record(agent.Entry{Event: &e}); err != nil {
		d.log.Error("recording an event", "error", err)
	}
}
