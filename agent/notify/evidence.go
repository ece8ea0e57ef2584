package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

func (t teller) why() string {
	why := t.dep.Message
	if failed := t.failure(); failed != nil && !says(why, failed.Evidence) {
		why = strings.TrimSuffix(failed.Evidence+". "+why, ". ")
	}
	if t.dep.Note != "" {
		why += " (“" + t.dep.Note + "”)"
	}
	if d := t.dep.Decision; d != nil && d.Note != "" && d.Note != t.dep.Note {
		why += " (“" + d.Note + "”)"
	}
	if t.dep.State == agent.StateRolledBack && t.edited() {
		why += "\nThe files still describe what was rejected: `agent show --diff " + fmt.Sprint(t.dep.ID) + "` shows the lines."
	}
	if until := t.dep.Deadlines.Hold; t.dep.State == agent.StateHeld && !until.IsZero() {
		why += "\nWithout a decision it is " + t.undecided() + " at " + clock(until) + "."
	}
	return why
}

// undecided says what becomes of a held deployment that nobody decides.
func (t teller) undecided() string {
	final := t.dep.Kind != agent.KindDeploy || t.dep.Irreversible || t.dep.Reason == agent.ReasonIrreversible || t.dep.From < t.record.Irreversible
	if t.dep.Config.OnHoldExpiry == agent.HoldExpiryRollback && !final {
		return "rolled back"
	}
	return "kept"
}

// clock is a time as people in the host's zone say it.
func clock(at time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return at.Format("15:04 MST")
	}
	return at.Format("15:04 MST on Mon 2 Jan")
}

// says tells whether a text is there already, however its lines are broken.
func says(text, part string) bool {
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return strings.Contains(words(text), words(part))
}

// failure is the verdict that ended it.
func (t teller) failure() *agent.Verdict {
	for _, v := range slices.Backward(t.dep.Verdicts) {
		if v.Outcome == agent.OutcomeFail {
			return &v
		}
	}
	return nil
}

// edited tells whether more than images differs between the two releases.
func (t teller) edited() bool {
	return t.from != nil && t.to != nil && t.from.ConfigHash != t.to.ConfigHash
}

// evidence is what was seen, as far as the reason does not say it already.
func (t teller) evidence() []string {
	var lines []string
	why := t.why()
	add := func(what, line string) {
		if !says(why, what) && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	for _, v := range t.dep.Verdicts {
		if v.Outcome != agent.OutcomePass {
			add(v.Evidence, fmt.Sprintf("%s: %s", v.Gate, v.Evidence))
		}
	}
	for _, d := range t.dep.Diagnoses {
		if t.troubled(d) {
			line := diagnosis(d, why)
			add(line, line)
		}
	}
	return lines
}

// troubled tells a container that failed from those that only stood beside it.
func (t teller) troubled(d agent.Diagnosis) bool {
	return d.Phase != agent.PhaseRunning && !t.done(d) || d.Restarts > 0 || d.OOMKilled || sick(d)
}

// done tells of a one-shot that did what it is for.
func (t teller) done(d agent.Diagnosis) bool {
	return t.oneShot(d) && d.Phase == agent.PhaseExited && d.ExitCode == 0 && !d.OOMKilled
}

func (t teller) oneShot(d agent.Diagnosis) bool {
	is := func(a agent.Artifact) bool { return a.Name == d.Artifact && a.OneShot }
	return slices.ContainsFunc(t.dep.Artifacts, is) || t.to != nil && slices.ContainsFunc(t.to.Artifacts, is)
}

// sick tells whether the container's own check has something to complain of. A record
// of an older agent has what the check said last, and not whether that was good.
func sick(d agent.Diagnosis) bool {
	switch d.Health {
	case agent.HealthUnhealthy:
		return true
	case agent.HealthHealthy, agent.HealthNone:
		return false
	}
	return d.HealthOutput != ""
}

func diagnosis(d agent.Diagnosis, why string) string {
	text := fmt.Sprintf("%s is %s", d.Instance, d.Phase)
	switch {
	case d.OOMKilled:
		text += ", killed for want of memory"
	case d.Phase != agent.PhaseRunning:
		text += fmt.Sprintf(", exit code %d", d.ExitCode)
	case d.Health == agent.HealthUnhealthy:
		text += " and unhealthy"
	}
	if d.Restarts > 0 {
		text += fmt.Sprintf(", %d restarts", d.Restarts)
	}
	if output := strings.TrimSpace(d.HealthOutput); output != "" && sick(d) && !says(why, output) {
		text += ", HEALTHCHECK says: " + output
	}
	return text
}

// logs are those of what failed; where nothing shows a failure by itself, of what the
// deployment changed; where that is nothing, of all that run.
func (t teller) logs() []Tail {
	changed := t.changed()
	for _, wanted := range []func(agent.Diagnosis) bool{
		t.troubled,
		func(d agent.Diagnosis) bool { return changed[d.Artifact] },
		func(d agent.Diagnosis) bool { return d.Phase == agent.PhaseRunning },
	} {
		var tails []Tail
		for _, d := range t.dep.Diagnoses {
			if len(d.Log) > 0 && wanted(d) {
				tails = append(tails, Tail{d.Instance, d.Log})
			}
		}
		if len(tails) > 0 {
			return tails
		}
	}
	return nil
}
