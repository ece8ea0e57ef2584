// Package judge says whether a release is healthy.
//
// Its one promise: purity. Evidence and now in, an [agent.Verdict] with its
// evidence out; no I/O, no clock, no logger. It never passes what it has not
// seen, and never fails what it could not see.
package judge

import (
	"fmt"
	"time"

	"rollback-agent/agent"
)

// Rules are what a release must show. Zero times do not apply.
type Rules struct {
	MinHealthy  time.Duration // continuous health that passes
	MaxRestarts int
	Deadline    time.Time // not healthy by then: fail
	NotBefore   time.Time // no pass before then, however healthy: the end of a watch
}

// A probe that once passed fails for good after this many failures in a row
// over at least this long.
const (
	probeFails   = 3
	probeFailFor = 15 * time.Second
)

// unverifiedFactor lengthens MinHealthy where nothing but running instances
// proves health: 30 s by default.
const unverifiedFactor = 3

// Gate judges the evidence. The second result is when to look again if nothing
// happens before.
func Gate(r Rules, e *Evidence, now time.Time) (agent.Verdict, time.Time) {
	if !e.Known {
		return verdict(now, "containers", agent.OutcomeNoData, agent.ReasonUnreachable, e.Amiss()), r.Deadline
	}
	for _, failure := range []func(Rules, *Evidence, time.Time) (agent.Verdict, bool){crashed, stopped, unhealthy, probesFailed} {
		if v, ok := failure(r, e, now); ok {
			v.Action = agent.ActionRollback
			return v, time.Time{}
		}
	}
	if e.Down() != "" {
		return verdict(now, "containers", agent.OutcomeInsufficient, "", e.Amiss()), e.stopped.Add(stopPatience)
	}
	if amiss := e.Amiss(); amiss != "" {
		return notHealthy(r, e, amiss, now)
	}
	return healthy(r, e, now)
}

// stopPatience is how long what somebody stopped may stay so: a restart by hand
// stops it, too.
const stopPatience = 15 * time.Second

// stopped fails what somebody asked to stop, for a reason of its own: nothing is
// wrong with the release.
func stopped(_ Rules, e *Evidence, now time.Time) (agent.Verdict, bool) {
	down := e.Down()
	if down == "" || e.stopped.IsZero() || now.Sub(e.stopped) < stopPatience {
		return agent.Verdict{}, false
	}
	return verdict(now, "containers", agent.OutcomeFail, agent.ReasonStopped, "somebody stopped "+down), true
}

func crashed(r Rules, e *Evidence, now time.Time) (agent.Verdict, bool) {
	if i := e.Fatal; i != nil && i.OOMKilled {
		return verdict(now, "crash", agent.OutcomeFail, agent.ReasonOOM, i.Name+" was killed for lack of memory"), true
	}
	if i := e.Fatal; i != nil {
		return verdict(now, "crash", agent.OutcomeFail, agent.ReasonCrash, fmt.Sprintf("%s exited with code %d and nothing restarts it", i.Name, i.ExitCode)), true
	}
	exits := 0
	for _, n := range e.Exits {
		exits += n
	}
	if exits <= r.MaxRestarts {
		return agent.Verdict{}, false
	}
	return verdict(now, "crash", agent.OutcomeFail, agent.ReasonCrash, fmt.Sprintf("%d exits, max_restarts = %d%s", exits, r.MaxRestarts, e.lastExit())), true
}

// lastExit names the exit code that an exited or restarting instance shows.
func (e *Evidence) lastExit() string {
	for _, i := range e.sorted() {
		if e.Exits[i.ID] > 0 {
			return fmt.Sprintf("; %s last exited with code %d", i.Name, i.ExitCode)
		}
	}
	return ""
}

func unhealthy(_ Rules, e *Evidence, now time.Time) (agent.Verdict, bool) {
	for _, i := range e.sorted() {
		if i.Phase == agent.PhaseRunning && i.Health == agent.HealthUnhealthy {
			return verdict(now, "healthcheck", agent.OutcomeFail, agent.ReasonUnhealthy, e.Amiss()), true
		}
	}
	return agent.Verdict{}, false
}

// probesFailed fails a probe that once passed. Before its first success a
// failing probe only waits for the deadline.
func probesFailed(_ Rules, e *Evidence, now time.Time) (agent.Verdict, bool) {
	for gate, p := range e.Probes {
		if !p.Passed || p.Fails < probeFails || now.Sub(p.FailSince) < probeFailFor {
			continue
		}
		text := fmt.Sprintf("%s probe failed %d times in %s: %s", gate, p.Fails, now.Sub(p.FailSince).Round(time.Second), p.Last.Detail)
		return verdict(now, gate, agent.OutcomeFail, agent.ReasonUnhealthy, text), true
	}
	return agent.Verdict{}, false
}

func notHealthy(r Rules, e *Evidence, amiss string, now time.Time) (agent.Verdict, time.Time) {
	if r.Deadline.IsZero() || now.Before(r.Deadline) {
		return verdict(now, "containers", agent.OutcomeInsufficient, "", amiss), r.Deadline
	}
	v := verdict(now, "deadline", agent.OutcomeFail, agent.ReasonHealthDeadline, "not healthy in time: "+amiss)
	v.Action = agent.ActionRollback
	return v, time.Time{}
}

func healthy(r Rules, e *Evidence, now time.Time) (agent.Verdict, time.Time) {
	need, reason := r.MinHealthy, agent.ReasonHealthy
	if !e.Checked() {
		need, reason = unverifiedFactor*r.MinHealthy, agent.ReasonUnverified
	}
	since := now.Sub(e.HealthySince)
	if passAt := Later(e.HealthySince.Add(need), r.NotBefore); now.Before(passAt) {
		return verdict(now, "containers", agent.OutcomeInsufficient, "", fmt.Sprintf("healthy for %s of %s", since.Round(100*time.Millisecond), need)), passAt
	}
	v := verdict(now, "containers", agent.OutcomePass, reason, "healthy for "+since.Round(100*time.Millisecond).String())
	if reason == agent.ReasonUnverified {
		v.Unverified = true
		v.Evidence = fmt.Sprintf("ran for %s without an exit; no HEALTHCHECK and no probe says more", since.Round(100*time.Millisecond))
	}
	return v, time.Time{}
}

// Later is the later of two times.
func Later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func verdict(now time.Time, gate string, outcome agent.Outcome, reason agent.Reason, evidence string) agent.Verdict {
	return agent.Verdict{At: now, Gate: gate, Outcome: outcome, Reason: reason, Evidence: evidence}
}
