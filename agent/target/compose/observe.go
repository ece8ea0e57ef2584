package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/events"

	"rollback-agent/agent"
)

// requestTime is how long a request to stop explains an exit: stop timeouts are
// seconds to minutes, and at the end of one the engine kills, which renews it.
const requestTime = 10 * time.Minute

// retryTime is the pause before a snapshot that failed is tried again.
const retryTime = 500 * time.Millisecond

// Observe reports what happens to the containers of a service until ctx ends.
func (t *Target) Observe(ctx context.Context, svc agent.Service, report func(agent.Observation)) error {
	e, id, err := t.awaitIdentity(ctx, svc, report)
	if err != nil || id.project == "" {
		return err
	}
	l := e.hub.listen(id.project)
	defer e.hub.leave(l)
	o := &observing{Target: t, svc: svc, engine: e, listener: l, report: report, requested: map[string]time.Time{}, oomed: map[string]bool{}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.more:
		case <-o.retry:
			o.retry, o.stale = nil, true
		}
		o.work(ctx)
	}
}

// awaitIdentity asks who the service is until somebody knows. Where nothing of
// it exists and its files are broken, it waits for either to change.
func (t *Target) awaitIdentity(ctx context.Context, svc agent.Service, report func(agent.Observation)) (*engine, identity, error) {
	told := ""
	for {
		e, id, err := t.whoIs(ctx, svc)
		if err == nil && id.project != "" {
			return e, id, nil
		}
		if ctx.Err() != nil {
			return nil, identity{}, nil
		}
		if err != nil && !errors.Is(err, agent.ErrUnreachable) {
			return nil, identity{}, err
		}
		switch {
		case err != nil && told != "lost":
			told = "lost"
			report(agent.Observation{At: time.Now(), Kind: agent.ObservedLost, Detail: err.Error()})
		case err == nil && told != "nothing":
			told = "nothing"
			report(agent.Observation{At: time.Now(), Kind: agent.ObservedSnapshot})
		}
		timer := time.NewTimer(lastWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, identity{}, nil
		case <-timer.C:
		}
	}
}

// observing is one Observe call. Only its own goroutine touches it.
type observing struct {
	*Target
	svc      agent.Service
	engine   *engine
	listener *listener
	report   func(agent.Observation)

	stale     bool                 // a snapshot is due
	lost      bool                 // nothing may be reported until the next snapshot
	retry     <-chan time.Time     // when a failed snapshot is tried again
	requested map[string]time.Time // containers that were asked to stop
	oomed     map[string]bool      // containers that ran out of memory since their start
}

// work reports everything that is waiting, and takes a snapshot afterwards if
// one is due: an Up of ten containers costs one, not thirty.
func (o *observing) work(ctx context.Context) {
	for _, n := range o.listener.take() {
		switch {
		case ctx.Err() != nil:
			return
		case n.lost != nil:
			o.lose(n.lost)
		case n.reconnects:
			o.stale = true
		default:
			o.event(ctx, n.event)
		}
	}
	if o.stale && ctx.Err() == nil {
		o.snapshot(ctx)
	}
}

func (o *observing) lose(err error) {
	if !o.lost {
		o.report(agent.Observation{At: time.Now(), Kind: agent.ObservedLost, Detail: err.Error()})
	}
	o.lost, o.stale, o.retry = true, false, nil
	clear(o.requested)
	clear(o.oomed)
}

func (o *observing) snapshot(ctx context.Context) {
	running, err := o.engine.running(ctx, o.identity())
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		o.lose(err)
		o.retry = time.After(retryTime)
		return
	}
	o.stale, o.lost = false, false
	o.report(agent.Observation{At: time.Now(), Kind: agent.ObservedSnapshot, Instances: running.Instances})
}

// identity is who the service is now: an Apply may have widened its unit.
func (o *observing) identity() identity {
	if id, ok := o.recall(o.svc); ok {
		return id
	}
	return identity{project: o.listener.project}
}

// event turns one event of the engine into what it means.
func (o *observing) event(ctx context.Context, e events.Message) {
	if !o.identity().owns(e.Actor.Attributes) {
		return
	}
	id, at := e.Actor.ID, eventTime(e)
	switch action := e.Action; {
	case action == events.ActionKill:
		if o.isRequest(ctx, e) {
			o.requested[id] = at
		}
	case action == events.ActionStop: // after the exit on older engines, before it on newer ones
		o.requested[id] = at
	case action == events.ActionOOM:
		o.oomed[id] = true
	case action == events.ActionDie:
		o.exited(ctx, e)
	case action == events.ActionStart:
		delete(o.oomed, id)
		delete(o.requested, id)
		o.tell(ctx, e, agent.ObservedStarted, "")
	case strings.HasPrefix(string(action), string(events.ActionHealthStatus)):
		o.tell(ctx, e, agent.ObservedHealth, "")
	case slices.Contains([]events.Action{events.ActionCreate, events.ActionDestroy, events.ActionRename, events.ActionPause, events.ActionUnPause, events.ActionUpdate}, action):
		o.stale = true
	}
}

// exited reports an exit, as asked for or not.
func (o *observing) exited(ctx context.Context, e events.Message) {
	id, at := e.Actor.ID, eventTime(e)
	kind := agent.ObservedExited
	if asked, ok := o.requested[id]; ok && at.Sub(asked) < requestTime {
		kind = agent.ObservedStopped
	}
	delete(o.requested, id)
	code, _ := strconv.Atoi(e.Actor.Attributes["exitCode"])
	detail := fmt.Sprintf("exit code %d", code)
	if o.oomed[id] {
		detail += ", out of memory"
	}
	o.tellExit(ctx, e, kind, code, detail)
}

// tellExit reports an instance as it was right after its exit; the engine may
// have restarted it since.
func (o *observing) tellExit(ctx context.Context, e events.Message, kind agent.ObservationKind, code int, detail string) {
	instance := o.inspect(ctx, e)
	oom := instance.OOMKilled && instance.Phase != agent.PhaseRunning || o.oomed[e.Actor.ID]
	instance.ExitCode, instance.OOMKilled, instance.FinishedAt = code, oom, eventTime(e)
	if instance.Phase == agent.PhaseRunning { // again, already
		instance.Phase = agent.PhaseRestarting
	}
	o.say(agent.Observation{At: eventTime(e), Kind: kind, Instance: instance, Detail: detail})
}

func (o *observing) tell(ctx context.Context, e events.Message, kind agent.ObservationKind, detail string) {
	instance := o.inspect(ctx, e)
	if kind == agent.ObservedHealth {
		state := strings.TrimSpace(strings.TrimPrefix(string(e.Action), string(events.ActionHealthStatus)+":"))
		if state == string(agent.HealthHealthy) || state == string(agent.HealthUnhealthy) {
			instance.Health = agent.HealthState(state)
		}
		detail = instance.HealthOutput
	}
	o.say(agent.Observation{At: eventTime(e), Kind: kind, Instance: instance, Detail: detail})
}

func (o *observing) say(observation agent.Observation) {
	if !o.lost {
		o.report(observation)
	}
}

// inspect returns the container of an event; what the event itself says where
// the container is gone already.
func (o *observing) inspect(ctx context.Context, e events.Message) agent.Instance {
	instance, err := o.engine.instance(ctx, e.Actor.ID, newImageCache(o.engine))
	if err == nil && instance != nil {
		o.plainConfig(ctx, instance)
		return *instance
	}
	labels := e.Actor.Attributes
	config := labels[configLabel]
	if config == "" {
		config = labels[api.ConfigHashLabel]
	}
	return agent.Instance{
		ID: e.Actor.ID, Name: labels["name"], Artifact: labels[api.ServiceLabel], Ref: labels["image"],
		Config: config, Phase: agent.PhaseExited, Health: agent.HealthNone,
	}
}

// plainConfig puts what the model gives in place of a hash that other containers'
// IDs are mixed into.
func (o *observing) plainConfig(ctx context.Context, instance *agent.Instance) {
	id := o.identity()
	if _, mixed := id.mixed[instance.Artifact]; !mixed {
		return
	}
	all, err := o.engine.projectContainers(ctx, id.project)
	if err != nil {
		return // the next snapshot has it
	}
	for _, c := range all {
		if c.ID == instance.ID {
			instance.Config = id.configOf(c, all)
		}
	}
}

// softSignals end a process only if it wants to; many programs reload on them.
var softSignals = []string{"1", "10", "12", "28", "17", "18"}

// isRequest tells whether a signal asks the container to end. A soft one does
// where the container names it as its stop signal.
func (o *observing) isRequest(ctx context.Context, e events.Message) bool {
	signal := e.Actor.Attributes["signal"]
	if !slices.Contains(softSignals, signal) {
		return true
	}
	return o.engine.stopSignal(ctx, e.Actor.ID) == signal
}

func eventTime(e events.Message) time.Time {
	if e.TimeNano > 0 {
		return time.Unix(0, e.TimeNano)
	}
	return time.Unix(e.Time, 0)
}
