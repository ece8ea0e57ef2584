package deploy

import (
	"context"
	"errors"
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
	w.dirty = false
	if ask.order.Verb == agent.VerbRollback {
		return time.Time{}, w.humanRollback(ctx, ask)
	}
	if err := w.lookAtWanted(ctx); err != nil {
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
	p, err := w.planNow(ask)
	if err != nil {
		return time.Time{}, fmt.Errorf("planning service %q: %w", w.svc.Name, err)
	}
	return w.carryOut(ctx, ask, p)
}

func (w *Worker) carryOut(ctx context.Context, ask request, p agent.Plan) (time.Time, error) {
	known := w.wanted.plan
	w.wanted.plan = p
	switch p.Action {
	case agent.PlanDeploy:
		return time.Time{}, w.deploy(ctx, ask, agent.KindDeploy, w.wantedRelease())
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
	record := w.record
	if p.Reason == agent.ReasonIdle && !record.Adopted {
		record.Adopted, record.Idle, record.Wanted = true, true, w.wanted.fingerprint
	}
	entry := agent.Entry{Service: &record}
	if p.Reason != agent.ReasonUnchanged {
		entry.Event = &agent.Event{At: time.Now(), Kind: agent.EventSkipped, Service: w.svc.Name, Reason: p.Reason, Message: p.Detail, Severity: agent.SeverityInfo}
	}
	return w.persist(ctx, entry)
}

func (w *Worker) planNow(ask request) (agent.Plan, error) {
	last, err := w.Recorder.Deployments(agent.HistoryFilter{Service: w.svc.Name, Limit: 1})
	if err != nil {
		return agent.Plan{}, err
	}
	in := plan.Input{
		Service: w.svc, Record: w.record, Wanted: w.wanted.wanted, Running: w.wanted.running,
		Serving: w.serving, Quarantine: w.quarantineOf(w.wanted.fingerprint), Since: w.wanted.since,
		Requested: ask.order.Verb != "", Force: ask.order.Force,
	}
	if len(last) > 0 {
		in.Last = &last[0]
	}
	return plan.Decide(in, time.Now()), nil
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
	record := w.record
	return w.persist(ctx, agent.Entry{Service: &record, Release: []string{w.wanted.fingerprint}})
}

func (w *Worker) wantedRelease() agent.Release {
	wanted := w.wanted.wanted
	return agent.Release{
		Service: w.svc.Name, Fingerprint: w.wanted.fingerprint, Artifacts: wanted.Artifacts, ConfigHash: wanted.ConfigHash,
		Model: wanted.Model, Snapshot: wanted.Snapshot, Standing: agent.StandingNew,
	}
}

// adopt takes over what serves. Equal to the files, it can be restored later; else
// only what serves is known.
func (w *Worker) adopt(ctx context.Context, ask request, p agent.Plan) error {
	rel := w.wantedRelease()
	if p.Reason == agent.ReasonDrift {
		rel = observedRelease(w.svc.Name, w.wanted.running)
	}
	return w.deploy(ctx, ask, agent.KindAdopt, rel)
}

// observedRelease describes what runs, as far as it shows from outside.
func observedRelease(service string, running agent.Running) agent.Release {
	rel := agent.Release{Service: service, Partial: true, Standing: agent.StandingNew}
	for _, i := range running.Instances {
		at := slices.IndexFunc(rel.Artifacts, func(a agent.Artifact) bool { return a.Name == i.Artifact })
		if at >= 0 {
			rel.Artifacts[at].Count++
			continue
		}
		rel.Artifacts = append(rel.Artifacts, agent.Artifact{
			Name: i.Artifact, Ref: i.Ref, Digest: i.Local, Local: i.Local, Config: i.Config, Count: 1,
		})
	}
	rel.Fingerprint = agent.Fingerprint(rel.Artifacts, "partial")
	return rel
}

// deploy records the intent as a new deployment with its release, and drives it to
// its end.
func (w *Worker) deploy(ctx context.Context, ask request, kind agent.DeploymentKind, rel agent.Release) error {
	now := time.Now()
	record := w.record
	record.Last++
	record.Adopted = true
	if kind != agent.KindRollback {
		record.Wanted = w.wanted.fingerprint
	}
	rel.Number, rel.CreatedAt = record.Last, now
	dep := agent.Deployment{
		Service: w.svc.Name, Kind: kind, State: agent.StateQueued, Reason: w.wanted.plan.Reason, Message: w.wanted.plan.Detail,
		From: record.Serving, To: rel.Number, Artifacts: rel.Artifacts, Fingerprint: rel.Fingerprint,
		Actor: ask.actor(w.cause), StartedAt: now, Config: w.svc,
	}
	dep.Timeline = []agent.Step{{At: now, State: agent.StateQueued, Reason: dep.Reason, Detail: dep.Message}}
	entry := agent.Entry{Service: &record, Deployment: &dep, Releases: []agent.Release{rel}, Event: &agent.Event{
		At: now, Kind: agent.EventTransition, Service: w.svc.Name, To: agent.StateQueued, Reason: dep.Reason, Message: dep.Message, Severity: agent.SeverityInfo,
	}}
	from := w.serving
	if err := w.persist(ctx, entry); err != nil {
		return err
	}
	w.Log.Info("deployment begins", "service", w.svc.Name, "deployment", dep.ID, "kind", kind, "release", agent.ReleaseName(rel.Number), "reason", dep.Reason, "detail", dep.Message)
	ask.answer(agent.Receipt{Deployment: dep.ID, Plan: w.wanted.plan, Message: fmt.Sprintf("deployment %d begins: %s", dep.ID, dep.Message)})
	return w.drive(ctx, &cycle{Worker: w, dep: dep, to: rel, from: from, force: ask.order.Force})
}

// drive runs a cycle to its end and cleans up behind it.
func (w *Worker) drive(ctx context.Context, c *cycle) error {
	w.open = c
	w.retain(ctx, c)
	w.publish()
	err := c.run(ctx)
	if err != nil {
		return err
	}
	w.open = nil
	w.dirty = true // there is a new truth to plan from
	w.watchServing()
	w.retain(ctx, nil)
	w.publish()
	return nil
}

// humanRollback deploys an older release because a human asked for it, and
// quarantines what it leaves.
func (w *Worker) humanRollback(ctx context.Context, ask request) error {
	source, err := w.rollbackSource(ask.order.Release)
	if err != nil {
		ask.refuse(err)
		return nil
	}
	left := w.serving
	if left != nil && left.Fingerprint != source.Fingerprint {
		record := w.record
		q := agent.Quarantined{
			Service: w.svc.Name, Fingerprint: left.Fingerprint, At: time.Now(), Release: left.Number,
			Reason: agent.ReasonRequested, By: ask.order.Actor, Artifacts: left.Artifacts,
		}
		if err := w.persist(ctx, agent.Entry{Service: &record, Quarantine: []agent.Quarantined{q}}); err != nil {
			return err
		}
	}
	rel := source
	rel.Restores, rel.Standing = source.Number, agent.StandingNew
	w.wanted.plan = agent.Plan{Action: agent.PlanDeploy, Reason: agent.ReasonRequested, Detail: "back to " + agent.ReleaseName(source.Number)}
	return w.deploy(ctx, ask, agent.KindRollback, rel)
}

// rollbackSource finds the release that a human wants back.
func (w *Worker) rollbackSource(number int64) (agent.Release, error) {
	if number == 0 {
		releases, err := w.Recorder.Releases(w.svc.Name)
		if err != nil {
			return agent.Release{}, err
		}
		quarantine, err := w.Recorder.Quarantine(w.svc.Name)
		if err != nil {
			return agent.Release{}, err
		}
		leaving := ""
		if w.serving != nil {
			leaving = w.serving.Fingerprint
		}
		if number = newestStable(releases, quarantine, leaving); number == 0 {
			return agent.Release{}, agent.WithHint(fmt.Errorf("service %q has no stable release to go back to", w.svc.Name), "`agent history "+w.svc.Name+"` shows what there was")
		}
	}
	rel, err := w.Recorder.Release(w.svc.Name, number)
	switch {
	case err != nil:
		return rel, agent.WithHint(fmt.Errorf("service %q has no release %s", w.svc.Name, agent.ReleaseName(number)), "`agent history "+w.svc.Name+"` shows what there was")
	case rel.Partial || len(rel.Snapshot.Data) == 0:
		return rel, agent.WithHint(fmt.Errorf("release %s of service %q cannot be restored: its model is not known", agent.ReleaseName(number), w.svc.Name), "it was running before the agent came, or is no longer kept")
	}
	return rel, nil
}

// cannotLook answers for a world that does not answer, and tries again soon.
func (w *Worker) cannotLook(ctx context.Context, ask request, err error) (time.Time, error) {
	if ctx.Err() != nil {
		return time.Time{}, context.Cause(ctx)
	}
	ask.refuse(err)
	if w.trouble != err.Error() {
		w.Log.Warn("what is wanted cannot be looked at", "service", w.svc.Name, "error", err)
	}
	w.trouble = err.Error()
	w.publish()
	return time.Now().Add(retryLongest / 3), nil
}

// tellInvalid waits out a file that is half-written, and tells one that stays
// invalid once. Nothing is touched either way.
func (w *Worker) tellInvalid(ctx context.Context, ask request) (time.Time, error) {
	err := w.wanted.invalid
	if until := w.wanted.invalidAt.Add(invalidPatience); ask.order.Verb == "" && time.Now().Before(until) {
		w.publish()
		return time.Now().Add(min(invalidPatience/3, time.Until(until)+time.Millisecond)), nil
	}
	ask.refuse(err)
	if w.wanted.told == err.Error() {
		return time.Time{}, nil
	}
	w.wanted.told = err.Error()
	w.wanted.plan = agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonInvalid, Detail: err.Error()}
	w.Log.Error("what is wanted cannot be loaded, nothing is touched", "service", w.svc.Name, "error", err)
	w.publish()
	return time.Time{}, w.tell(ctx, agent.EventInvalid, agent.SeverityError, err.Error())
}

func (w *Worker) tellValid(ctx context.Context) error {
	w.trouble = ""
	if w.wanted.told == "" {
		return nil
	}
	w.wanted.told = ""
	return w.tell(ctx, agent.EventValid, agent.SeverityInfo, "what is wanted can be loaded again")
}

func (w *Worker) tell(ctx context.Context, kind agent.EventKind, severity agent.Severity, message string) error {
	record := w.record
	return w.persist(ctx, agent.Entry{Service: &record, Event: &agent.Event{
		At: time.Now(), Kind: kind, Service: w.svc.Name, Message: message, Severity: severity,
	}})
}

// resume goes on with the deployment that a process that is gone has left open.
func (w *Worker) resume(ctx context.Context) error {
	all, err := w.Recorder.Deployments(agent.HistoryFilter{Service: w.svc.Name, Limit: 1})
	if err != nil {
		return fmt.Errorf("looking for an open deployment of service %q: %w", w.svc.Name, err)
	}
	if len(all) == 0 || all[0].State.Ended() {
		w.watchServing()
		return nil
	}
	c, err := w.reopen(ctx, all[0])
	if err != nil {
		return err
	}
	present := w.svc
	w.svc = c.dep.Config
	defer func() { w.svc = present }()
	return w.drive(ctx, c)
}

// reopen makes the cycle of a recorded deployment. It ends under the config that
// began it; the worker that follows has the present one.
func (w *Worker) reopen(ctx context.Context, dep agent.Deployment) (*cycle, error) {
	to, err := w.Recorder.Release(dep.Service, dep.To)
	if err != nil {
		return nil, fmt.Errorf("loading release %s of open deployment %d: %w", agent.ReleaseName(dep.To), dep.ID, err)
	}
	c := &cycle{Worker: w, dep: dep, to: to, resumed: true}
	if dep.From != 0 {
		from, err := w.Recorder.Release(dep.Service, dep.From)
		if err != nil {
			return nil, fmt.Errorf("loading release %s of open deployment %d: %w", agent.ReleaseName(dep.From), dep.ID, err)
		}
		c.from = &from
	}
	now := time.Now()
	c.dep.Counters.Resumed++
	c.dep.Timeline = append(slices.Clone(dep.Timeline), agent.Step{At: now, State: dep.State, Reason: agent.ReasonResumed, Detail: "the agent was restarted"})
	w.Log.Info("deployment goes on after a restart", "service", dep.Service, "deployment", dep.ID, "state", dep.State)
	record := w.record
	return c, w.persist(ctx, agent.Entry{Service: &record, Deployment: &c.dep, Event: &agent.Event{
		At: now, Kind: agent.EventTransition, Service: dep.Service, Deployment: dep.ID, From: dep.State, To: dep.State,
		Reason: agent.ReasonResumed, Message: "the agent was restarted", Severity: agent.SeverityInfo,
	}})
}

// retain tells the target which releases must stay restorable: those an open
// deployment needs, what serves, and the newest stable ones.
func (w *Worker) retain(ctx context.Context, c *cycle) {
	releases, err := w.Recorder.Releases(w.svc.Name)
	if err != nil {
		w.Log.Warn("releases cannot be read, nothing is cleaned up", "service", w.svc.Name, "error", err)
		return
	}
	err = w.during(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, 3*lookTimeout, errLook)
		defer cancel()
		return w.Target.Retain(ctx, w.svc, keep(releases, w.record.Serving, c, w.svc.KeepReleases))
	}, nil)
	if err != nil && !errors.Is(err, context.Canceled) {
		w.Log.Warn("old releases could not be cleaned up", "service", w.svc.Name, "error", err)
	}
}

// keep chooses from releases, newest first.
func keep(releases []agent.Release, serving int64, c *cycle, count int) []agent.Release {
	var kept []agent.Release
	restorable := 0
	for _, r := range releases {
		open := c != nil && (r.Number == c.dep.To || r.Number == c.dep.From || r.Number == c.dep.Restored)
		if r.Restorable() && restorable < max(count, 2) {
			restorable++
			open = true
		}
		if open || r.Number == serving {
			kept = append(kept, r)
		}
	}
	return kept
}
