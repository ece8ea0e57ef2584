package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// ofDeployment tells how a deployment stands.
func (n *Notifier) ofDeployment(d agent.Delivery) (Message, error) {
	dep, err := n.store.Deployment(d.Deployment)
	if err != nil {
		return Message{}, fmt.Errorf("looking up deployment %d: %w", d.Deployment, err)
	}
	record, err := n.store.Service(dep.Service)
	if err != nil {
		return Message{}, fmt.Errorf("looking up service %q: %w", dep.Service, err)
	}
	t := teller{Notifier: n, dep: dep, record: record}
	t.from, t.to = t.known(dep.From), t.known(dep.To)
	m := Message{
		Severity: t.severity(d.Event.Severity), Icon: t.icon(), Title: n.title(dep.Service, t.headline()), Open: !dep.State.Ended(),
		Loud: t.loud(), Facts: t.facts(), Why: t.why(), Evidence: t.evidence(), Logs: t.logs(), Timeline: t.timeline(),
		Hint: dep.Hint, Commands: t.commands(), At: dep.StartedAt,
	}
	return m, nil
}

// teller puts one deployment into words.
type teller struct {
	*Notifier
	dep      agent.Deployment
	record   agent.ServiceRecord
	from, to *agent.Release // nil: none, or not known any more
}

func (t teller) known(number int64) *agent.Release {
	rel, err := t.store.Release(t.dep.Service, number)
	if number == 0 || err != nil {
		return nil
	}
	return &rel
}

func (t teller) icon() Icon {
	switch t.dep.State {
	case agent.StateHeld:
		return IconAsk
	case agent.StateSucceeded:
		if t.unproved() {
			return IconAsk
		}
		return IconGood
	case agent.StateRolledBack:
		if t.dep.Serving == agent.ServingOld {
			return IconBack
		}
		return IconBad
	case agent.StateFailed:
		if t.calm() {
			return IconInfo
		}
		return IconBad
	case agent.StateRollbackFailed, agent.StateRollingBack:
		return IconBad
	case agent.StateSuperseded, agent.StateCancelled:
		return IconInfo
	}
	return IconProgress
}

// severity is that of the event, unless nothing bad serves.
func (t teller) severity(told agent.Severity) agent.Severity {
	if t.calm() && told == agent.SeverityError {
		return agent.SeverityWarning
	}
	return told
}

// unproved tells a release that serves on somebody's word, or for want of one, from
// those that proved their health.
func (t teller) unproved() bool {
	return t.dep.State == agent.StateSucceeded && (t.dep.Reason == agent.ReasonKept || t.dep.Reason == agent.ReasonHoldExpired)
}

// calm tells a failure that changed nothing from those that do harm.
func (t teller) calm() bool {
	switch {
	case t.dep.State != agent.StateFailed:
		return false
	case t.dep.Serving == agent.ServingOld:
		return true
	case t.dep.Serving == agent.ServingNone:
		return t.untouched() && t.dep.From == 0
	}
	return t.untouched() && (t.dep.Serving == agent.ServingNew || t.dep.Serving == agent.ServingOther) // as before
}

// untouched tells whether the deployment ended before it changed anything.
func (t teller) untouched() bool {
	return t.dep.Kind != agent.KindAdopt && len(t.dep.Timeline) > 0 &&
		!slices.ContainsFunc(t.dep.Timeline, func(s agent.Step) bool { return s.State == agent.StateApplying })
}

// loud tells whether somebody may have to do something now.
func (t teller) loud() bool {
	switch t.dep.State {
	case agent.StateHeld, agent.StateRolledBack, agent.StateRollbackFailed, agent.StateFailed:
		return true
	case agent.StateSucceeded:
		return t.dep.Reason == agent.ReasonHoldExpired
	}
	return false
}

func (t teller) headline() string {
	what := t.happened()
	if p := t.record.Pause; p.Active(time.Now()) && p.By == "agent" {
		what += "; automation is paused"
	}
	return what
}

// happened says what happened, why, and what serves.
func (t teller) happened() string {
	to := agent.ReleaseName(t.dep.To)
	switch t.dep.State {
	case agent.StateHeld:
		return "held" + t.because() + ", decide"
	case agent.StateSucceeded:
		return t.succeeded(to)
	case agent.StateRolledBack:
		return "rolled back" + t.because() + ", " + t.serves()
	case agent.StateRollbackFailed:
		return "THE ROLLBACK FAILED" + t.because() + ", " + t.serves()
	case agent.StateFailed:
		if t.dep.Serving == agent.ServingOld || t.calm() {
			return "not deployed" + t.because() + ", " + t.serves()
		}
		return to + " failed" + t.because() + ", " + t.serves()
	case agent.StateRollingBack:
		return to + " failed" + t.because() + ", rolling back"
	case agent.StateSuperseded, agent.StateCancelled:
		return fmt.Sprintf("%s is %s%s, %s", to, t.dep.State, t.because(), t.serves())
	}
	return fmt.Sprintf("deploying %s, %s", to, strings.ReplaceAll(string(t.dep.State), "_", " "))
}

func (t teller) succeeded(to string) string {
	switch {
	case t.unproved():
		return to + " is kept although it did not prove its health"
	case t.dep.Kind == agent.KindRollback:
		return "rolled back by hand, " + t.source(t.dep.To) + " serves"
	}
	return to + " is deployed"
}

// because names the reasons as the history does: what failed, and what made of it
// what it is now.
func (t teller) because() string {
	var reasons []string
	if failed := t.failure(); failed != nil && t.dep.State != agent.StateSuperseded && t.dep.State != agent.StateCancelled {
		reasons = append(reasons, string(failed.Reason))
	}
	if r := t.dep.Reason; r != agent.ReasonRollbackFailed {
		reasons = append(reasons, string(r))
	}
	reasons = slices.DeleteFunc(slices.Compact(reasons), func(r string) bool { return r == "" })
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(reasons, ", ") + ")"
}

// serves is what serves, as short as a title needs it.
func (t teller) serves() string {
	switch t.dep.Serving {
	case agent.ServingNew:
		return agent.ReleaseName(t.dep.To) + " serves"
	case agent.ServingOld:
		if t.dep.Restored != 0 {
			return t.source(t.dep.Restored) + " serves again"
		}
		return agent.ReleaseName(t.dep.From) + " serves"
	case agent.ServingMixed:
		return "part new, part old serves"
	case agent.ServingOther:
		return "something else serves"
	case agent.ServingNone:
		if t.calm() {
			return "nothing serves, as before"
		}
		return "NOTHING serves"
	}
	return "what serves is unknown"
}

// source names the release that another one makes serve again.
func (t teller) source(number int64) string {
	if rel := t.known(number); rel != nil {
		return agent.ReleaseName(cmp.Or(rel.Restores, number))
	}
	return agent.ReleaseName(number)
}

func (t teller) timeline() []string {
	lines := make([]string, len(t.dep.Timeline))
	for i, s := range t.dep.Timeline {
		lines[i] = fmt.Sprintf("+%s %s (%s)", span(s.At.Sub(t.dep.StartedAt)), s.State, s.Reason)
		if s.Detail != "" {
			lines[i] += ": " + s.Detail
		}
	}
	return lines
}

func (t teller) commands() []string {
	commands := []string{fmt.Sprintf("agent show %d", t.dep.ID)}
	if t.dep.State == agent.StateHeld {
		commands = append(commands, fmt.Sprintf("agent keep %d", t.dep.ID), "agent rollback "+t.dep.Service)
	}
	return commands
}
