package deploy

import (
	"context"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

// Status tells how the service is, as of the worker's last step.
func (w *Worker) Status() agent.Status {
	w.mu.Lock()
	s := w.status
	w.mu.Unlock()
	if quarantine, err := w.Recorder.Quarantine(s.Service); err == nil {
		s.Quarantine = quarantine
	}
	return s
}

func (w *Worker) publish() {
	s := agent.Status{
		Service: w.svc.Name, Target: w.svc.Target, State: w.stateText(), Healthy: w.healthText(),
		Deployment: w.last, Plan: w.wanted.plan, Overrides: w.record.Overrides, Error: w.redact(w.trouble), Hint: w.redact(w.advice), Warnings: w.wanted.wanted.Warnings,
	}
	if w.record.Pause.Active(time.Now()) {
		s.Pause = w.record.Pause
	}
	if w.serving != nil {
		s.Release, s.Standing, s.Artifacts, s.Since = w.serving.Number, w.serving.Standing, w.serving.Artifacts, w.serving.CreatedAt
	}
	if w.open != nil {
		s.Plan = agent.Plan{Action: agent.PlanWait, Reason: agent.ReasonBusy, Detail: w.open.dep.Message}
		s.Hint = w.open.dep.Hint
	}
	if w.wanted.invalid != nil {
		s.Error, s.Hint = w.redact(w.wanted.invalid.Error()), w.redact(agent.Hint(w.wanted.invalid))
	}
	w.mu.Lock()
	w.status = s
	w.mu.Unlock()
}

func (w *Worker) stateText() string {
	switch {
	case w.open != nil:
		return string(w.open.dep.State)
	case !w.picture.known:
		return "unknown"
	case len(w.picture.instances) == 0:
		return "none"
	case w.record.Idle:
		return "idle"
	case w.serving != nil && slices.ContainsFunc(w.picture.instances, func(i agent.Instance) bool {
		return !slices.ContainsFunc(w.serving.Artifacts, i.Runs)
	}):
		return "changed" // somebody else's doing, not adopted yet
	}
	return "serving"
}

func (w *Worker) healthText() string {
	switch e := w.evidence; {
	case e == nil || !e.Known:
		return "unknown"
	case e.Amiss() == "" && w.open == nil && len(e.Probes) < len(w.svc.Health.Gates()):
		return "running" // the service's own probes rest while nothing is deployed
	case e.Amiss() == "":
		return "healthy"
	case e.WasHealthy:
		return "unhealthy"
	}
	return "starting"
}

// watchServing turns the judge to what serves while no deployment is open. Its own
// probes rest, unless a failed rollback has to be seen to recover.
func (w *Worker) watchServing() {
	w.endCritical()
	if w.serving == nil {
		w.evidence = nil
		return
	}
	var gates []string
	if w.record.Critical {
		gates = w.svc.Health.Gates()
		w.stopCritical = w.startProbes(w.svc)
	}
	w.evidence = judge.NewEvidence(w.serving, gates, agent.Counters{})
	w.evidence.Observe(w.picture.snapshot())
}

func (w *Worker) endCritical() {
	if w.stopCritical != nil {
		w.stopCritical()
		w.stopCritical = nil
	}
}

// idleHealth notices what happens to a service that nobody is deploying: stopped
// by a human, running again, or recovered after a failed rollback.
func (w *Worker) idleHealth(ctx context.Context) {
	e := w.evidence
	if e == nil || !e.Known {
		return
	}
	var event *agent.Event
	record, healthy := w.record, e.Amiss() == ""
	switch {
	case !record.Idle && e.Down() != "" && !w.anyRuns():
		record.Idle = true
		w.dirty = true // there is another reason now why nothing is deployed
	case record.Idle && healthy:
		record.Idle = false
		w.dirty = true // what was wanted meanwhile was left alone
	case record.Critical && healthy && time.Since(e.HealthySince) >= w.svc.MinHealthyTime:
		record.Critical = false
		w.endCritical()
		event = &agent.Event{At: time.Now(), Kind: agent.EventRecovered, Service: w.svc.Name, Message: "healthy again", Severity: agent.SeverityInfo}
	default:
		return
	}
	_, err := w.persist(ctx, func(present agent.ServiceRecord) agent.Entry {
		present.Idle, present.Critical = record.Idle, record.Critical
		return agent.Entry{Service: &present, Event: event}
	})
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("the service's record could not be written", "service", w.svc.Name, "error", err)
	}
}

// anyRuns tells whether anything of the service runs, whatever it is.
func (w *Worker) anyRuns() bool {
	return slices.ContainsFunc(w.picture.instances, func(i agent.Instance) bool { return i.Phase == agent.PhaseRunning })
}

// recovery is when health after a failed rollback will have lasted long enough.
func (w *Worker) recovery() time.Time {
	if !w.record.Critical || w.evidence == nil || w.evidence.HealthySince.IsZero() {
		return time.Time{}
	}
	return w.evidence.HealthySince.Add(w.svc.MinHealthyTime)
}
