package plan_test

import (
	"errors"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/plan"
)

var now = time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)

func artifact(digest, config string) agent.Artifact {
	return agent.Artifact{Name: "app", Ref: "app:1", Digest: digest, Config: config, Count: 1}
}

func wanted(digest, config string) agent.Wanted {
	return agent.Wanted{Artifacts: []agent.Artifact{artifact(digest, config)}, ConfigHash: config}
}

func release(digest, config string) *agent.Release {
	w := wanted(digest, config)
	return &agent.Release{Number: 1, Artifacts: w.Artifacts, ConfigHash: config, Fingerprint: w.Fingerprint(), Standing: agent.StandingStable}
}

func runs(digest, config string, phase agent.Phase) agent.Running {
	return agent.Running{Instances: []agent.Instance{{ID: "1", Artifact: "app", Local: digest, Config: config, Phase: phase}}}
}

// steady is a service that serves what is wanted.
func steady() plan.Input {
	w := wanted("sha256:1", "a")
	return plan.Input{
		Service: agent.Service{Name: "web", Mode: agent.ModeAuto},
		Record:  agent.ServiceRecord{Adopted: true, Wanted: w.Fingerprint(), Serving: 1},
		Wanted:  w, Running: runs("sha256:1", "a", agent.PhaseRunning), Serving: release("sha256:1", "a"), Since: now,
	}
}

func TestDecide(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*plan.Input)
		action agent.PlanAction
		reason agent.Reason
	}{
		"steady":            {func(*plan.Input) {}, agent.PlanSkip, agent.ReasonUnchanged},
		"new image":         {func(in *plan.Input) { in.Wanted = wanted("sha256:2", "a") }, agent.PlanDeploy, agent.ReasonChanged},
		"new config":        {func(in *plan.Input) { in.Wanted = wanted("sha256:1", "b") }, agent.PlanDeploy, agent.ReasonChanged},
		"invalid":           {func(in *plan.Input) { in.Invalid = errors.New("no") }, agent.PlanSkip, agent.ReasonInvalid},
		"forced":            {func(in *plan.Input) { in.Force = true }, agent.PlanDeploy, agent.ReasonForced},
		"requested, steady": {func(in *plan.Input) { in.Requested = true }, agent.PlanSkip, agent.ReasonUnchanged},
		"first, nothing there": {func(in *plan.Input) {
			in.Record, in.Serving, in.Running = agent.ServiceRecord{}, nil, agent.Running{}
		}, agent.PlanDeploy, agent.ReasonFirst},
		"first, equal": {func(in *plan.Input) { in.Record, in.Serving = agent.ServiceRecord{}, nil }, agent.PlanAdopt, agent.ReasonAdopt},
		"first, different": {func(in *plan.Input) {
			in.Record, in.Serving, in.Running = agent.ServiceRecord{}, nil, runs("sha256:0", "a", agent.PhaseRunning)
		}, agent.PlanAdopt, agent.ReasonDrift},
		"first, stopped": {func(in *plan.Input) {
			in.Record, in.Serving, in.Running = agent.ServiceRecord{}, nil, runs("sha256:1", "a", agent.PhaseExited)
		}, agent.PlanSkip, agent.ReasonIdle},
		"drift": {func(in *plan.Input) {
			in.Record.Drift, in.Serving, in.Running = true, release("sha256:0", "a"), runs("sha256:0", "a", agent.PhaseRunning)
		}, agent.PlanSkip, agent.ReasonDrift},
		"drift, then an edit": {func(in *plan.Input) {
			in.Record.Drift, in.Serving, in.Running = true, release("sha256:0", "a"), runs("sha256:0", "a", agent.PhaseRunning)
			in.Wanted = wanted("sha256:1", "b")
		}, agent.PlanDeploy, agent.ReasonChanged},
		"quarantined": {func(in *plan.Input) {
			in.Wanted, in.Quarantine = wanted("sha256:2", "a"), &agent.Quarantined{}
		}, agent.PlanSkip, agent.ReasonQuarantined},
		"quarantined, requested": {func(in *plan.Input) {
			in.Wanted, in.Quarantine, in.Requested = wanted("sha256:2", "a"), &agent.Quarantined{}, true
		}, agent.PlanSkip, agent.ReasonQuarantined},
		"paused": {func(in *plan.Input) {
			in.Wanted, in.Record.Pause = wanted("sha256:2", "a"), &agent.Pause{}
		}, agent.PlanSkip, agent.ReasonPaused},
		"paused, requested": {func(in *plan.Input) {
			in.Wanted, in.Record.Pause, in.Requested = wanted("sha256:2", "a"), &agent.Pause{}, true
		}, agent.PlanDeploy, agent.ReasonRequested},
		"pause over": {func(in *plan.Input) {
			in.Wanted, in.Record.Pause = wanted("sha256:2", "a"), &agent.Pause{Until: now}
		}, agent.PlanDeploy, agent.ReasonChanged},
		"stopped by a human": {func(in *plan.Input) {
			in.Wanted, in.Record.Idle, in.Running = wanted("sha256:2", "a"), true, runs("sha256:1", "a", agent.PhaseExited)
		}, agent.PlanSkip, agent.ReasonIdle},
		"mode notify": {func(in *plan.Input) {
			in.Wanted, in.Service.Mode = wanted("sha256:2", "a"), agent.ModeNotify
		}, agent.PlanSkip, agent.ReasonNotify},
		"delay": {func(in *plan.Input) {
			in.Wanted, in.Service.Delay, in.Since = wanted("sha256:2", "a"), time.Hour, now.Add(-time.Minute)
		}, agent.PlanWait, agent.ReasonDelayed},
		"delay over": {func(in *plan.Input) {
			in.Wanted, in.Service.Delay, in.Since = wanted("sha256:2", "a"), time.Hour, now.Add(-time.Hour)
		}, agent.PlanDeploy, agent.ReasonChanged},
		"up by a human": {func(in *plan.Input) {
			in.Wanted, in.Running = wanted("sha256:2", "a"), runs("sha256:2", "a", agent.PhaseRunning)
		}, agent.PlanAdopt, agent.ReasonAdopt},
		"failed before": {func(in *plan.Input) {
			in.Wanted = wanted("sha256:2", "a")
			in.Record.Wanted, in.Record.Declined = in.Wanted.Fingerprint(), 7
		}, agent.PlanSkip, agent.ReasonEarlierFailed},
		"overtaken before, wanted again": {func(in *plan.Input) {
			in.Wanted = wanted("sha256:2", "a")
			in.Record.Wanted = in.Wanted.Fingerprint()
		}, agent.PlanDeploy, agent.ReasonChanged},
		"taken over, although quarantined": {func(in *plan.Input) {
			in.Running, in.Quarantine = runs("sha256:0", "a", agent.PhaseRunning), &agent.Quarantined{}
			in.Last = &agent.Deployment{State: agent.StateSuperseded, Reason: agent.ReasonForeign}
		}, agent.PlanAdopt, agent.ReasonDrift},
		"changed by somebody, file as before": {func(in *plan.Input) {
			in.Running = runs("sha256:0", "a", agent.PhaseRunning)
		}, agent.PlanAdopt, agent.ReasonDrift},
		"changed by somebody, and the file": {func(in *plan.Input) {
			in.Running, in.Wanted = runs("sha256:0", "a", agent.PhaseRunning), wanted("sha256:2", "a")
		}, agent.PlanDeploy, agent.ReasonChanged},
		"up by a human, although quarantined": {func(in *plan.Input) {
			in.Wanted, in.Running = wanted("sha256:2", "a"), runs("sha256:2", "a", agent.PhaseRunning)
			in.Quarantine = &agent.Quarantined{}
		}, agent.PlanAdopt, agent.ReasonAdopt},
		"only a network differs": {func(in *plan.Input) {
			in.Wanted.ConfigHash = "a with another network"
		}, agent.PlanDeploy, agent.ReasonChanged},
		"serves unproved": {func(in *plan.Input) {
			in.Serving.Standing = agent.StandingRejected
		}, agent.PlanSkip, agent.ReasonUnchanged},
		"serves unproved, requested": {func(in *plan.Input) {
			in.Serving.Standing, in.Requested = agent.StandingRejected, true
		}, agent.PlanAdopt, agent.ReasonRequested},
		"taken over in mid-deployment": {func(in *plan.Input) {
			in.Running = runs("sha256:0", "a", agent.PhaseRunning)
			in.Last = &agent.Deployment{State: agent.StateSuperseded, Reason: agent.ReasonForeign}
		}, agent.PlanAdopt, agent.ReasonDrift},
	} {
		t.Run(name, func(t *testing.T) {
			in := steady()
			c.change(&in)
			got := plan.Decide(in, now)
			if got.Action != c.action || got.Reason != c.reason || got.Detail == "" {
				t.Errorf("got %s (%s) %q, want %s (%s) with a detail", got.Action, got.Reason, got.Detail, c.action, c.reason)
			}
		})
	}
}

// An image that is known under another digest is not a new one.
func TestField16DigestsAreComparedByMembership(t *testing.T) {
	in := steady()
	in.Record, in.Serving = agent.ServiceRecord{}, nil
	in.Running.Instances[0].Local = "sha256:config"
	in.Running.Instances[0].Digests = []string{"sha256:platform", "sha256:1"}
	if got := plan.Decide(in, now); got.Action != agent.PlanAdopt || got.Reason != agent.ReasonAdopt {
		t.Errorf("got %+v, want it recognized", got)
	}
}

func TestDifference(t *testing.T) {
	from := release("sha256:1", "a")
	to := wanted("sha256:2", "b")
	from.Model, to.Model = "image: app:1\nports: []\n", "image: app:2\nports: [80]\n"
	to.Artifacts[0].Ref = "app:2"
	to.Artifacts = append(to.Artifacts, agent.Artifact{Name: "worker", Ref: "w:1"})
	if got, want := plan.Difference(from, to), "app: app:1 → app:2, adds worker, config differs"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	to.Model = "image: app:2\nports: []\n"
	if got, want := plan.Difference(from, to), "app: app:1 → app:2, adds worker"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := plan.Difference(nil, to), "no release serves yet"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
