// Package plan decides what to do about what is wanted: deploy it, adopt it,
// wait, or leave it, always with a named reason.
//
// Its one promise: purity. Values and now in, an [agent.Plan] out; no I/O, no
// clock, no logger. What is decided here is carried out elsewhere.
package plan

import (
	"fmt"
	"strings"
	"time"

	"rollback-agent/agent"
)

// Input is everything a plan depends on.
type Input struct {
	Service agent.Service
	Record  agent.ServiceRecord

	Wanted  agent.Wanted
	Invalid error // why the wanted could not be loaded; Wanted is void then

	Running    agent.Running      // looked up now
	Serving    *agent.Release     // the recorded release that should be serving, nil for none
	Quarantine *agent.Quarantined // the entry of the wanted fingerprint, nil for none
	Last       *agent.Deployment  // the newest deployment of the service, nil for none

	Since     time.Time // when this fingerprint was first seen wanted
	Requested bool      // a human asked for it
	Force     bool      // although nothing differs, or it is quarantined
}

// Decide says what to do now. The rules are asked in order; the first that has
// an answer wins.
func Decide(in Input, now time.Time) agent.Plan {
	for _, rule := range rules {
		if p, ok := rule(in, now); ok {
			return p
		}
	}
	return deploy(in)
}

type rule func(Input, time.Time) (agent.Plan, bool)

var rules = []rule{
	invalid,
	forced,
	firstSight,
	takenOver,
	broughtUp,
	paused,
	quarantined,
	nothingNew,
	idle,
	knownAlready,
	notifyOnly,
	delayed,
}

func invalid(in Input, _ time.Time) (agent.Plan, bool) {
	if in.Invalid == nil {
		return agent.Plan{}, false
	}
	return skip(agent.ReasonInvalid, in.Invalid.Error())
}

func forced(in Input, _ time.Time) (agent.Plan, bool) {
	return agent.Plan{Action: agent.PlanDeploy, Reason: agent.ReasonForced, Detail: "forced by a human"}, in.Force
}

// firstSight is adoption: it changes nothing that runs.
func firstSight(in Input, _ time.Time) (agent.Plan, bool) {
	if in.Record.Adopted {
		return agent.Plan{}, false
	}
	switch in.serving() {
	case agent.ServingNew:
		return agent.Plan{Action: agent.PlanAdopt, Reason: agent.ReasonAdopt, Detail: "what runs is what the files describe"}, true
	case agent.ServingNone:
		if len(in.Running.Instances) == 0 {
			return agent.Plan{Action: agent.PlanDeploy, Reason: agent.ReasonFirst, Detail: "nothing of it runs yet"}, true
		}
		return skip(agent.ReasonIdle, "its containers are stopped; `agent deploy %s` starts them", in.Service.Name)
	}
	return agent.Plan{Action: agent.PlanAdopt, Reason: agent.ReasonDrift, Detail: "what runs is not what the files describe"}, true
}

func paused(in Input, now time.Time) (agent.Plan, bool) {
	p := in.Record.Pause
	if in.Requested || !p.Active(now) {
		return agent.Plan{}, false
	}
	detail := "by " + p.By
	if p.Until.IsZero() {
		detail += " until `agent resume " + in.Service.Name + "`"
	}
	if !in.servesWanted() {
		detail += "; waiting: " + Difference(in.Serving, in.Wanted)
	}
	return agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonPaused, Detail: detail, Until: p.Until}, true
}

func quarantined(in Input, _ time.Time) (agent.Plan, bool) {
	q := in.Quarantine
	if q == nil {
		return agent.Plan{}, false
	}
	return skip(agent.ReasonQuarantined, "%s; rolled back by deployment %d (%s), `agent retry %s` tries again", Difference(in.Serving, in.Wanted), q.Deployment, q.Reason, in.Service.Name)
}

func nothingNew(in Input, _ time.Time) (agent.Plan, bool) {
	if !in.servesWanted() || in.serving() != agent.ServingNew {
		return agent.Plan{}, false
	}
	name := agent.ReleaseName(in.Serving.Number)
	switch {
	case in.Serving.Restorable():
		return skip(agent.ReasonUnchanged, "%s serves what is wanted", name)
	case in.Requested:
		return agent.Plan{Action: agent.PlanAdopt, Reason: agent.ReasonRequested, Detail: name + " serves what is wanted and has to prove its health again"}, true
	}
	return skip(agent.ReasonUnchanged, "%s serves what is wanted, but has not proved its health; `agent deploy %s` lets it try again", name, in.Service.Name)
}

// servesWanted tells whether the recorded release is what is wanted.
func (in Input) servesWanted() bool {
	return in.Serving != nil && in.Serving.Fingerprint == in.Wanted.Fingerprint()
}

// idle leaves alone what a human stopped, even when its files change.
func idle(in Input, _ time.Time) (agent.Plan, bool) {
	if in.Requested || !in.Record.Idle || in.serving() != agent.ServingNone {
		return agent.Plan{}, false
	}
	return skip(agent.ReasonIdle, "its containers are stopped; `agent deploy %s` starts them", in.Service.Name)
}

// takenOver adopts what somebody else brought up, at rest or in the middle of a
// deployment, so that the history says what serves. Something new that is wanted
// goes before it.
func takenOver(in Input, _ time.Time) (agent.Plan, bool) {
	foreign := in.Last != nil && in.Last.State == agent.StateSuperseded && in.Last.Reason == agent.ReasonForeign
	noNews := in.Serving != nil && in.Record.Wanted == in.Wanted.Fingerprint()
	if in.Requested || !foreign && !noNews || in.serving() != agent.ServingOther {
		return agent.Plan{}, false
	}
	return agent.Plan{Action: agent.PlanAdopt, Reason: agent.ReasonDrift, Detail: "somebody else changed what runs"}, true
}

// knownAlready stops a second attempt at something that is no news.
func knownAlready(in Input, _ time.Time) (agent.Plan, bool) {
	if in.Requested || in.Record.Wanted != in.Wanted.Fingerprint() {
		return agent.Plan{}, false
	}
	name := in.Service.Name
	switch {
	case in.Record.Drift:
		return skip(agent.ReasonDrift, "what runs was not what the files describe when the agent came; `agent deploy %s` applies them", name)
	case in.Serving != nil && in.Serving.Fingerprint == in.Wanted.Fingerprint():
		return skip(agent.ReasonDrift, "what runs is not what was deployed, or not all of it; `agent deploy %s` puts %s back", name, agent.ReleaseName(in.Serving.Number))
	case in.Record.Declined != 0:
		return skip(agent.ReasonEarlierFailed, "deployment %d ended without it; `agent retry %s` tries again", in.Record.Declined, name)
	}
	return agent.Plan{}, false
}

// broughtUp takes over what a human brought up from the same files, even what was
// rolled back: it is judged, and the history says what serves. Where the recorded
// release shows the same instances, what differs is not theirs to show (a network,
// a volume), and has to be applied.
func broughtUp(in Input, _ time.Time) (agent.Plan, bool) {
	return agent.Plan{Action: agent.PlanAdopt, Reason: agent.ReasonAdopt, Detail: "somebody brought up what the files describe"},
		!in.servesWanted() && in.serving() == agent.ServingNew && in.Running.Serves(in.Serving, nil) != agent.ServingNew
}

func notifyOnly(in Input, _ time.Time) (agent.Plan, bool) {
	if in.Requested || in.Service.Mode != agent.ModeNotify {
		return agent.Plan{}, false
	}
	return skip(agent.ReasonNotify, "%s; mode is notify, `agent deploy %s` deploys it", Difference(in.Serving, in.Wanted), in.Service.Name)
}

func delayed(in Input, now time.Time) (agent.Plan, bool) {
	until := in.Since.Add(in.Service.Delay)
	if in.Requested || in.Service.Delay == 0 || !now.Before(until) {
		return agent.Plan{}, false
	}
	return agent.Plan{Action: agent.PlanWait, Reason: agent.ReasonDelayed, Detail: Difference(in.Serving, in.Wanted) + "; delay = " + in.Service.Delay.String(), Until: until}, true
}

func deploy(in Input) agent.Plan {
	reason := agent.ReasonChanged
	if in.Requested {
		reason = agent.ReasonRequested
	}
	return agent.Plan{Action: agent.PlanDeploy, Reason: reason, Detail: Difference(in.Serving, in.Wanted)}
}

// serving compares what runs with what is wanted.
func (in Input) serving() agent.Serving {
	wanted := agent.Release{Artifacts: in.Wanted.Artifacts}
	return in.Running.Serves(&wanted, in.Serving)
}

// Difference says in one line what a deployment would change.
func Difference(from *agent.Release, to agent.Wanted) string {
	if from == nil {
		return "no release serves yet"
	}
	before := make(map[string]agent.Artifact, len(from.Artifacts))
	for _, a := range from.Artifacts {
		before[a.Name] = a
	}
	var changed []string
	for _, a := range to.Artifacts {
		old, known := before[a.Name]
		switch {
		case !known:
			changed = append(changed, "adds "+a.Name)
		case old.Ref != a.Ref:
			changed = append(changed, fmt.Sprintf("%s: %s → %s", a.Name, old.Ref, a.Ref))
		case old.Digest != a.Digest:
			changed = append(changed, a.Name+": new image behind the tag, "+a.Short())
		}
		delete(before, a.Name)
	}
	for _, a := range from.Artifacts {
		if _, gone := before[a.Name]; gone {
			changed = append(changed, "drops "+a.Name)
		}
	}
	if from.ConfigHash != to.ConfigHash && (len(changed) == 0 || withoutImages(from.Model) != withoutImages(to.Model)) {
		changed = append(changed, "config differs")
	}
	if len(changed) == 0 {
		return "nothing differs"
	}
	return strings.Join(changed, ", ")
}

// withoutImages drops the lines of a model that only name images: those are told
// already.
func withoutImages(model string) string {
	var kept []string
	for line := range strings.Lines(model) {
		if !strings.HasPrefix(strings.TrimSpace(line), "image:") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func skip(reason agent.Reason, detail string, args ...any) (agent.Plan, bool) {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return agent.Plan{Action: agent.PlanSkip, Reason: reason, Detail: detail}, true
}
