package judge_test

import (
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/judge"
)

var start = time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

var rules = judge.Rules{MinHealthy: 10 * time.Second, MaxRestarts: 2, Deadline: at(120)}

func instance(phase agent.Phase, health agent.HealthState) agent.Instance {
	return agent.Instance{ID: "1", Name: "web-1", Artifact: "web", Local: "image", Config: "c", Phase: phase, Health: health, WillRestart: true}
}

func evidence(probes ...string) *judge.Evidence {
	rel := &agent.Release{Artifacts: []agent.Artifact{{Name: "web", Local: "image", Config: "c", Count: 1}}}
	return judge.NewEvidence(rel, probes, agent.Counters{})
}

func snapshot(seconds float64, instances ...agent.Instance) agent.Observation {
	return agent.Observation{At: at(seconds), Kind: agent.ObservedSnapshot, Instances: instances}
}

func fact(seconds float64, kind agent.ObservationKind, i agent.Instance) agent.Observation {
	return agent.Observation{At: at(seconds), Kind: kind, Instance: i}
}

func sample(seconds float64, passed bool) agent.Sample {
	return agent.Sample{At: at(seconds), Gate: "http", Passed: passed, Detail: "HTTP 500"}
}

func wants(t *testing.T, e *judge.Evidence, seconds float64, outcome agent.Outcome, reason agent.Reason) agent.Verdict {
	t.Helper()
	v, _ := judge.Gate(rules, e, at(seconds))
	if v.Outcome != outcome || v.Reason != reason {
		t.Errorf("at %gs: got %s (%s) %q, want %s (%s)", seconds, v.Outcome, v.Reason, v.Evidence, outcome, reason)
	}
	return v
}

func TestNothingSeenIsNoData(t *testing.T) {
	wants(t, evidence(), 500, agent.OutcomeNoData, agent.ReasonUnreachable)
}

func TestField33NothingSampledIsNoPass(t *testing.T) {
	e := evidence("http")
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	wants(t, e, 60, agent.OutcomeInsufficient, "")
	wants(t, e, 120, agent.OutcomeFail, agent.ReasonHealthDeadline)
}

func TestField11StartingIsNotHealthy(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthStarting)))
	wants(t, e, 60, agent.OutcomeInsufficient, "")
	e.Observe(fact(60, agent.ObservedHealth, instance(agent.PhaseRunning, agent.HealthHealthy)))
	wants(t, e, 69.9, agent.OutcomeInsufficient, "")
	wants(t, e, 70, agent.OutcomePass, agent.ReasonHealthy)
}

func TestUnverifiedNeedsThreeTimesAsLong(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	wants(t, e, 29.9, agent.OutcomeInsufficient, "")
	if v := wants(t, e, 30, agent.OutcomePass, agent.ReasonUnverified); !v.Unverified {
		t.Error("got verified, want unverified")
	}
}

func TestField38ExitsAreCountedOverContainers(t *testing.T) {
	e := evidence()
	for n := range 3 {
		i := instance(agent.PhaseRestarting, agent.HealthNone)
		i.ID, i.ExitCode = string(rune('a'+n)), 3
		e.Observe(snapshot(float64(n), i))
		if n < 2 {
			e.Observe(fact(float64(n), agent.ObservedExited, i))
			wants(t, e, float64(n), agent.OutcomeInsufficient, "")
			continue
		}
		e.Observe(fact(float64(n), agent.ObservedExited, i))
	}
	v := wants(t, e, 3, agent.OutcomeFail, agent.ReasonCrash)
	if !strings.Contains(v.Evidence, "exited with code 3") {
		t.Errorf("got %q, want the exit code in it", v.Evidence)
	}
}

func TestExitWithoutRestartPolicyFailsAtOnce(t *testing.T) {
	e := evidence()
	i := instance(agent.PhaseExited, agent.HealthNone)
	i.WillRestart, i.ExitCode = false, 0
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	e.Observe(fact(1, agent.ObservedExited, i))
	wants(t, e, 1, agent.OutcomeFail, agent.ReasonCrash)
}

func TestOOMFailsAtOnce(t *testing.T) {
	e := evidence()
	i := instance(agent.PhaseRestarting, agent.HealthNone)
	i.OOMKilled = true
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	e.Observe(fact(1, agent.ObservedExited, i))
	wants(t, e, 1, agent.OutcomeFail, agent.ReasonOOM)
}

func TestRequestedStopsDoNotCount(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	e.Observe(fact(1, agent.ObservedStopped, instance(agent.PhaseExited, agent.HealthNone)))
	wants(t, e, 15.9, agent.OutcomeInsufficient, "")
	wants(t, e, 16, agent.OutcomeFail, agent.ReasonStopped)
}

// Apply stops instances itself, for as long as they take to stop; what it started may
// be heard of a moment after it has returned.
func TestStopsOfAnApplyAreNobodysElse(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	e.Observe(fact(1, agent.ObservedStopped, instance(agent.PhaseExited, agent.HealthNone)))
	e.Applied(at(30))
	wants(t, e, 30, agent.OutcomeInsufficient, "")
	wants(t, e, 44.9, agent.OutcomeInsufficient, "")
	wants(t, e, 45, agent.OutcomeFail, agent.ReasonStopped)
}

func TestStopOfOneOfSeveralIsNoFailureOfTheRelease(t *testing.T) {
	e := evidence("http")
	e.Release.Artifacts = append(e.Release.Artifacts, agent.Artifact{Name: "db", Local: "db", Config: "c", Count: 1})
	db := agent.Instance{ID: "2", Name: "db-1", Artifact: "db", Local: "db", Config: "c", Phase: agent.PhaseRunning, Health: agent.HealthNone}
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone), db))
	e.Sample(sample(0, true))
	e.Observe(fact(1, agent.ObservedStopped, instance(agent.PhaseExited, agent.HealthNone)))
	for s := 2.0; s <= 14; s += 2 {
		e.Sample(sample(s, false))
	}
	wants(t, e, 15, agent.OutcomeInsufficient, "")
	v := wants(t, e, 17, agent.OutcomeFail, agent.ReasonStopped)
	if v.Evidence != "somebody stopped web" {
		t.Errorf("got %q, want it to name what was stopped", v.Evidence)
	}
}

func TestRestartByHandIsNoStop(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	e.Observe(fact(1, agent.ObservedStopped, instance(agent.PhaseExited, agent.HealthNone)))
	e.Observe(fact(11, agent.ObservedStarted, instance(agent.PhaseRunning, agent.HealthHealthy)))
	wants(t, e, 20, agent.OutcomeInsufficient, "")
	wants(t, e, 21, agent.OutcomePass, agent.ReasonHealthy)
}

func TestRestartStartsHealthAnew(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	e.Observe(fact(9, agent.ObservedExited, instance(agent.PhaseRestarting, agent.HealthNone)))
	e.Observe(fact(9.5, agent.ObservedStarted, instance(agent.PhaseRunning, agent.HealthHealthy)))
	wants(t, e, 19, agent.OutcomeInsufficient, "")
	wants(t, e, 19.5, agent.OutcomePass, agent.ReasonHealthy)
}

func TestProbeThatNeverPassedOnlyWaits(t *testing.T) {
	e := evidence("http")
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	for s := range 60 {
		e.Sample(sample(float64(2*s), false))
	}
	v := wants(t, e, 119, agent.OutcomeInsufficient, "")
	if !strings.Contains(v.Evidence, "HTTP 500") {
		t.Errorf("got %q, want the answer in it", v.Evidence)
	}
	wants(t, e, 120, agent.OutcomeFail, agent.ReasonHealthDeadline)
}

func TestProbeThatPassedFailsAfterThreeInFifteenSeconds(t *testing.T) {
	e := evidence("http")
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	e.Sample(sample(0, true))
	for s := 2.0; s < 17; s += 2 {
		e.Sample(sample(s, false))
		wants(t, e, s, agent.OutcomeInsufficient, "")
	}
	e.Sample(sample(18, false))
	wants(t, e, 18, agent.OutcomeFail, agent.ReasonUnhealthy)
}

func TestLostFactsAreNoEvidence(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	e.Observe(agent.Observation{At: at(5), Kind: agent.ObservedLost})
	wants(t, e, 500, agent.OutcomeNoData, agent.ReasonUnreachable)
	e.Observe(snapshot(500, instance(agent.PhaseRunning, agent.HealthHealthy)))
	wants(t, e, 509, agent.OutcomeInsufficient, "")
	wants(t, e, 510, agent.OutcomePass, agent.ReasonHealthy)
}

func TestExitsMissedWhileNobodyLookedCount(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	i := instance(agent.PhaseRunning, agent.HealthHealthy)
	i.Restarts = 3
	e.Observe(snapshot(60, i))
	wants(t, e, 60, agent.OutcomeFail, agent.ReasonCrash)
}

func TestAnExitThatShowsBeforeItIsToldIsOne(t *testing.T) {
	e := evidence()
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy)))
	for n := 1; n <= 2; n++ {
		i := instance(agent.PhaseRestarting, agent.HealthNone)
		i.Restarts = n
		e.Observe(snapshot(float64(n), i))
		e.Observe(fact(float64(n), agent.ObservedExited, i))
	}
	wants(t, e, 3, agent.OutcomeInsufficient, "")
	if e.Exits["1"] != 2 {
		t.Errorf("got %d exits, want 2", e.Exits["1"])
	}
}

func TestField10EveryInstanceIsJudged(t *testing.T) {
	e := evidence()
	e.Release.Artifacts[0].Count = 2
	sick := instance(agent.PhaseRunning, agent.HealthUnhealthy)
	sick.ID, sick.Name = "2", "web-2"
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy), sick))
	v := wants(t, e, 0, agent.OutcomeFail, agent.ReasonUnhealthy)
	if !strings.Contains(v.Evidence, "web-2") {
		t.Errorf("got %q, want the sick one named", v.Evidence)
	}
}

func TestOneShotSucceedsByExitingZero(t *testing.T) {
	e := evidence()
	e.Release.Artifacts[0].OneShot, e.Release.Artifacts[0].Count = true, 0
	i := instance(agent.PhaseExited, agent.HealthNone)
	i.WillRestart = false
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthNone)))
	wants(t, e, 1, agent.OutcomeInsufficient, "")
	e.Observe(fact(1, agent.ObservedExited, i))
	wants(t, e, 31, agent.OutcomePass, agent.ReasonUnverified)
	i.ExitCode = 1
	e.Observe(fact(32, agent.ObservedExited, i))
	wants(t, e, 32, agent.OutcomeFail, agent.ReasonCrash)
}

func TestForeignInstancesAreNotJudged(t *testing.T) {
	e := evidence()
	other := instance(agent.PhaseExited, agent.HealthNone)
	other.ID, other.Local, other.WillRestart = "9", "old image", false
	e.Observe(snapshot(0, instance(agent.PhaseRunning, agent.HealthHealthy), other))
	e.Observe(fact(1, agent.ObservedExited, other))
	wants(t, e, 10, agent.OutcomePass, agent.ReasonHealthy)
}
