package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/plan"
)

// consider looks at what is wanted, plans, and carries the plan out to its end. It
// returns when to look again if nothing happens before; zero for never.
func (w *Worker) consider(ctx context.Context) (time.Time, error) {
	ask := w.nextRequest()
	defer ask.refuse(errEnded) // for the ways out that give no answer
	w.dirty = false
	if ask.order.Verb == agent.VerbRollback {
		return time.Time{}, w.humanRollback(ctx, ask)
	}
	if err := w.override(ctx, ask); err != nil {
		ask.refuse(err)
		return time.Time{}, ctxError(ctx)
	}
	if err := w.lookAtWanted(ctx, ask.at, nil); err != nil {
		return w.cannotLook(ctx, ask, err)
	}
	if w.wanted.invalid != nil {
		return w.tellInvalid(ctx, ask)
	}
	if err := w.tellValid(ctx); err != nil {
		return time.Time{}, err
	}
	if err := w.lift(ctx, ask); err != nil {
		return time.Time{}, err
	}
	if err := w.remember(ctx); err != nil {
		return time.Time{}, err
	}
	p, err := w.planNow(ask)
	if err != nil {
		return time.Time{}, fmt.Errorf("planning service %q: %w", w.svc.Name, err)
	}
	if w.retired { // the config has changed: the plan is its successor's
		return time.Time{}, nil
	}
	return w.carryOut(ctx, ask, p)
}

func (w *Worker) carryOut(ctx context.Context, ask request, p agent.Plan) (time.Time, error) {
	known := w.wanted.plan
	w.wanted.plan = p
	switch p.Action {
	case agent.PlanDeploy:
		return time.Time{}, w.deploy(ctx, ask, agent.KindDeploy, w.wantedRelease(), nil)
	case agent.PlanAdopt:
		return time.Time{}, w.adopt(ctx, ask, p)
	}
	ask.answer(agent.Receipt{Plan: p, Message: p.Detail})
	w.publish()
	if p.Reason == known.Reason && p.Detail == known.Detail {
		return p.Until, nil
	}
	w.Log.Info("nothing to deploy", "service", w.svc.Name, "reason", p.Reason, "detail", p.Detail)
	return p.Until, w.recordSkip(ctx, p)
}

// recordSkip remembers what is skipped for good reason, once.
func (w *Worker) recordSkip(ctx context.Context, p agent.Plan) error {
	if p.Reason == agent.ReasonUnchanged {
		return nil
	}
	_, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		if p.Reason == agent.ReasonIdle && !record.Adopted {
			record.Adopted, record.Idle, record.Wanted = true, true, w.wanted.fingerprint
		}
		return agent.Entry{Service: &record, Event: &agent.Event{
			At: time.Now(), Kind: agent.EventSkipped, Service: w.svc.Name, Reason: p.Reason, Message: p.Detail, Severity: agent.SeverityInfo,
		}}
	})
	return err
}

func (w *Worker) planNow(ask request) (agent.Plan, error) {
	last, err := w.Recorder.Deployments(agent.HistoryFilter{Service: w.svc.Name, Limit: 1})
	if err != nil {
		return agent.Plan{}, err
	}
	since := time.Now()
	if w.record.Seen == w.wanted.fingerprint {
		since = w.record.SeenAt
	}
	in := plan.Input{
		Service: w.svc, Record: w.record, Wanted: w.wanted.wanted, Running: w.wanted.running,
		Serving: w.serving, Quarantine: w.quarantineOf(w.wanted.fingerprint), Since: since,
		Requested: ask.order.Verb != "", Force: ask.order.Force,
	}
	if len(last) > 0 {
		in.Last = &last[0]
	}
	return plan.Decide(in, time.Now()), nil
}

// remember records since when something is wanted, where a delay depends on it:
// a restart must not begin the delay anew.
func (w *Worker) remember(ctx context.Context) error {
	fingerprint := w.wanted.fingerprint
	if w.svc.Delay == 0 || w.record.Seen == fingerprint || w.record.Wanted == fingerprint {
		return nil
	}
	_, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		record.Seen, record.SeenAt = fingerprint, time.Now()
		return agent.Entry{Service: &record}
	})
	return err
}

func (w *Worker) quarantineOf(fingerprint string) *agent.Quarantined {
	all, err := w.Recorder.Quarantine(w.svc.Name)
	if err != nil {
		// What cannot be read may be a reason not to deploy.
		return &agent.Quarantined{Service: w.svc.Name, Fingerprint: fingerprint, Reason: agent.ReasonLost}
	}
	at := slices.IndexFunc(all, func(q agent.Quarantined) bool { return q.Fingerprint == fingerprint })
	if at < 0 {
		return nil
	}
	return &all[at]
}

// lift takes what is wanted out of quarantine, because a human asked for a retry.
func (w *Worker) lift(ctx context.Context, ask request) error {
	if ask.order.Verb != agent.VerbRetry || w.quarantineOf(w.wanted.fingerprint) == nil {
		return nil
	}
	_, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		return agent.Entry{Service: &record, Release: []string{w.wanted.fingerprint}}
	})
	return err
}

func (w *Worker) wantedRelease() agent.Release {
	wanted := w.wanted.wanted
	return agent.Release{
		Service: w.svc.Name, Fingerprint: w.wanted.fingerprint, Artifacts: wanted.Artifacts, ConfigHash: wanted.ConfigHash,
		Model: wanted.Model, Snapshot: wanted.Snapshot, Standing: agent.StandingNew, Secrets: wanted.Secrets,
	}
}

// deploy records the intent as a new deployment with its release, and drives it to
// its end. leaving, if any, goes into quarantine with it.
func (w *Worker) deploy(ctx context.Context, ask request, kind agent.DeploymentKind, rel agent.Release, leaving *agent.Release) error {
	now, p, from := time.Now(), w.wanted.plan, w.serving
	written, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		record.Last++
		record.Adopted = true
		if kind != agent.KindRollback {
			record.Wanted, record.Declined, record.Seen, record.SeenAt = w.wanted.fingerprint, 0, "", time.Time{}
		}
		rel.Number, rel.CreatedAt = record.Last, now
		entry := agent.Entry{Service: &record, Releases: []agent.Release{rel}}
		entry.Deployment = &agent.Deployment{
			Service: w.svc.Name, Kind: kind, State: agent.StateQueued, Reason: p.Reason, Message: p.Detail,
			From: record.Serving, To: rel.Number, Artifacts: rel.Artifacts, Fingerprint: rel.Fingerprint,
			Actor: ask.actor(w.cause), Note: ask.order.Note, Force: ask.order.Force, Irreversible: ask.order.Irreversible, StartedAt: now, Config: w.svc,
			Timeline: []agent.Step{{At: now, State: agent.StateQueued, Reason: p.Reason, Detail: p.Detail}},
		}
		entry.Event = &agent.Event{
			At: now, Kind: agent.EventTransition, Service: w.svc.Name, To: agent.StateQueued, Reason: p.Reason, Message: p.Detail, Severity: agent.SeverityInfo,
		}
		if leaving != nil {
			entry.Quarantine = append(entry.Quarantine, agent.Quarantined{
				Service: w.svc.Name, Fingerprint: leaving.Fingerprint, At: now, Release: leaving.Number,
				Reason: agent.ReasonRequested, By: ask.order.Actor, Artifacts: leaving.Artifacts,
			})
		}
		return entry
	})
	if err != nil {
		return err
	}
	dep := *written.Deployment
	w.Log.Info("deployment begins", "service", w.svc.Name, "deployment", dep.ID, "kind", kind, "release", agent.ReleaseName(rel.Number), "reason", p.Reason, "detail", p.Detail)
	ask.answer(agent.Receipt{Deployment: dep.ID, Plan: p, Message: fmt.Sprintf("deployment %d begins: %s", dep.ID, p.Detail)})
	return w.drive(ctx, &cycle{Worker: w, dep: dep, to: rel, from: from})
}

// drive runs a cycle to its end and cleans up behind it.
func (w *Worker) drive(ctx context.Context, c *cycle) error {
	w.endCritical()
	w.open, w.last, w.waiting = c, c.dep.ID, false
	w.publish()
	if err := c.run(ctx); err != nil {
		return err
	}
	w.open, w.waiting = nil, false
	w.dirty = true // there is a new truth to plan from
	w.watchServing()
	w.retain(ctx)
	w.publish()
	return nil
}
