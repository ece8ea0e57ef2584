package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// message says what a delivery has to tell, as it is now.
func (n *Notifier) message(d agent.Delivery) (Message, error) {
	m, err := n.ofEvent(d), error(nil)
	if d.Event.Kind == agent.EventTransition {
		m, err = n.ofDeployment(d)
	}
	m.Key, m.Host, m.Service = d.Key+" on "+n.using.Host, n.using.Host, d.Service
	return m.redacted(), err
}

// ofEvent tells of everything but deployments.
func (n *Notifier) ofEvent(d agent.Delivery) Message {
	e := d.Event
	m := Message{Severity: e.Severity, Icon: IconBad, Title: n.headline(e), Loud: true, Why: e.Message, Hint: e.Hint, At: e.At}
	switch {
	case isMended(e), e.Kind == agent.EventRecovered:
		m.Icon = IconGood
		if e.Kind != agent.EventRecovered {
			m.Facts = append(m.Facts, Fact{"It lasted", span(e.At.Sub(d.Since))})
		}
	case e.Kind == agent.EventSkipped:
		m.Icon = IconInfo
	}
	if d.Repeats > 0 {
		m.Facts = append(m.Facts, Fact{"Again", fmt.Sprintf("%d times since it was last told", d.Repeats)})
	}
	m.Facts = append(m.Facts, Fact{"Host", n.using.Host})
	switch {
	case e.Kind == agent.EventSkipped:
		m.Commands = []string{"agent plan " + e.Service, "agent deploy " + e.Service}
	case e.Service != "":
		m.Commands = []string{"agent status"}
	default:
		m.Commands = []string{"agent events --last 20"}
	}
	return m
}

func (n *Notifier) headline(e agent.Event) string {
	what := e.Kind
	service := cmp.Or(e.Service, "the agent")
	if isMended(e) && e.Reason == agent.ReasonConfig {
		return cmp.Or(e.Subject, e.Service) + " is not the agent's business any more"
	}
	switch what {
	case agent.EventTrouble:
		return e.Subject + " does not work"
	case agent.EventMended:
		return e.Subject + " works again"
	case agent.EventInvalid:
		return service + ": what is wanted cannot be loaded"
	case agent.EventValid:
		return service + ": what is wanted can be loaded again"
	case agent.EventRecovered:
		return service + ": recovered"
	case agent.EventSkipped:
		return service + ": something new waits for you"
	case agent.EventPaused:
		return service + ": automation is paused"
	}
	if e.Reason == agent.ReasonDown {
		return "nothing was watched for a while"
	}
	return service + " needs attention"
}

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
	m := Message{
		Severity: d.Event.Severity, Icon: t.icon(), Title: dep.Service + ": " + t.headline(), Open: !dep.State.Ended(),
		Loud: t.loud(), Facts: t.facts(), Why: t.why(), Evidence: t.evidence(), Logs: t.logs(), Timeline: t.timeline(),
		Hint: dep.Hint, Commands: t.commands(), At: dep.StartedAt,
	}
	return m, nil
}

// teller puts one deployment into words.
type teller struct {
	*Notifier
	dep    agent.Deployment
	record agent.ServiceRecord
}

func (t teller) icon() Icon {
	switch t.dep.State {
	case agent.StateHeld:
		return IconAsk
	case agent.StateSucceeded:
		return IconGood
	case agent.StateRolledBack:
		return IconBack
	case agent.StateRollbackFailed, agent.StateFailed, agent.StateRollingBack:
		return IconBad
	case agent.StateSuperseded, agent.StateCancelled:
		return IconInfo
	}
	return IconProgress
}

// loud tells whether somebody may have to do something now.
func (t teller) loud() bool {
	switch t.dep.State {
	case agent.StateHeld, agent.StateRolledBack, agent.StateRollbackFailed, agent.StateFailed:
		return true
	}
	return false
}

func (t teller) headline() string {
	to := agent.ReleaseName(t.dep.To)
	switch t.dep.State {
	case agent.StateHeld:
		return to + " is held, decide"
	case agent.StateSucceeded:
		if t.dep.Kind == agent.KindRollback {
			return "rolled back by hand, " + to + " serves"
		}
		return to + " is deployed"
	case agent.StateRolledBack:
		return to + " failed and is rolled back"
	case agent.StateRollbackFailed:
		return "THE ROLLBACK FAILED"
	case agent.StateFailed:
		return to + " failed"
	case agent.StateRollingBack:
		return to + " failed, rolling back"
	case agent.StateSuperseded, agent.StateCancelled:
		return fmt.Sprintf("%s is %s", to, t.dep.State)
	}
	return fmt.Sprintf("deploying %s, %s", to, strings.ReplaceAll(string(t.dep.State), "_", " "))
}

func (t teller) facts() []Fact {
	facts := []Fact{
		{"Host", t.using.Host},
		{"Deployment", fmt.Sprintf("%d by %s", t.dep.ID, t.dep.Actor)},
		{"From → to", t.release(t.dep.From) + " → " + t.release(t.dep.To)},
	}
	if t.dep.State.Ended() {
		facts = append(facts, Fact{"Serves now", t.serving()}, Fact{"Took", span(t.dep.Duration(time.Now()))})
	}
	if p := t.record.Pause; p.Active(time.Now()) && p.By == "agent" {
		facts = append(facts, Fact{"Paused", p.Note + "; nothing deploys by itself until `agent resume " + t.dep.Service + "`"})
	}
	return facts
}

// serving says what was found to serve at the end.
func (t teller) serving() string {
	switch t.dep.Serving {
	case agent.ServingNew:
		return t.release(t.dep.To)
	case agent.ServingOld:
		return t.release(cmp.Or(t.dep.Restored, t.dep.From))
	case agent.ServingMixed:
		return "part new, part old"
	case agent.ServingOther:
		return "neither of them: somebody else's doing"
	case agent.ServingNone:
		return "NOTHING"
	}
	return "unknown: it could not be looked up"
}

// release names a release by number, tag and short digest.
func (t teller) release(number int64) string {
	if number == 0 {
		return "nothing"
	}
	name := agent.ReleaseName(number)
	rel, err := t.store.Release(t.dep.Service, number)
	if err != nil {
		return name
	}
	const shown = 3
	var images []string
	for _, a := range rel.Artifacts {
		images = append(images, a.Short())
	}
	slices.Sort(images)
	images = slices.Compact(images)
	if more := len(images) - shown; more > 0 {
		images = append(images[:shown], fmt.Sprintf("and %d more", more))
	}
	if rel.Restores != 0 {
		name += " (" + agent.ReleaseName(rel.Restores) + " again)"
	}
	return name + " " + strings.Join(images, ", ")
}

func (t teller) why() string {
	why := t.dep.Message
	if failed := t.failure(); failed != nil && !strings.Contains(why, failed.Evidence) {
		why = failed.Evidence + ". " + why
	}
	if t.dep.Note != "" {
		why += " (“" + t.dep.Note + "”)"
	}
	if t.dep.State == agent.StateRolledBack && t.edited() {
		why += "\nThe files still describe what was rejected: `agent show --diff " + fmt.Sprint(t.dep.ID) + "` shows the lines."
	}
	return why
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
	from, err := t.store.Release(t.dep.Service, t.dep.From)
	if err != nil {
		return false
	}
	to, err := t.store.Release(t.dep.Service, t.dep.To)
	return err == nil && from.ConfigHash != to.ConfigHash
}

func (t teller) evidence() []string {
	var lines []string
	why := t.why()
	for _, v := range t.dep.Verdicts {
		if v.Outcome != agent.OutcomePass && !strings.Contains(why, v.Evidence) {
			lines = append(lines, fmt.Sprintf("%s: %s", v.Gate, v.Evidence))
		}
	}
	for _, d := range t.dep.Diagnoses {
		if troubled(d) {
			lines = append(lines, diagnosis(d))
		}
	}
	return lines
}

// troubled tells a container that failed from those that only stood beside it.
func troubled(d agent.Diagnosis) bool {
	return d.Phase != agent.PhaseRunning || d.Restarts > 0 || d.OOMKilled || d.HealthOutput != ""
}

func diagnosis(d agent.Diagnosis) string {
	text := fmt.Sprintf("%s is %s", d.Instance, d.Phase)
	switch {
	case d.OOMKilled:
		text += ", killed for want of memory"
	case d.Phase != agent.PhaseRunning:
		text += fmt.Sprintf(", exit code %d", d.ExitCode)
	}
	if d.Restarts > 0 {
		text += fmt.Sprintf(", %d restarts", d.Restarts)
	}
	if d.HealthOutput != "" {
		text += ", HEALTHCHECK says: " + strings.TrimSpace(d.HealthOutput)
	}
	return text
}

// logs are those of what failed; where nothing shows a failure by itself, of all.
func (t teller) logs() []Tail {
	var failed, all []Tail
	for _, d := range t.dep.Diagnoses {
		if len(d.Log) == 0 {
			continue
		}
		tail := Tail{d.Instance, d.Log}
		if all = append(all, tail); troubled(d) {
			failed = append(failed, tail)
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return all
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

// span is a duration as people say it.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// redacted hides what looks like a secret, in texts that were redacted by those who
// knew the service's own: twice is better than never.
func (m Message) redacted() Message {
	hide := func(text string) string { return agent.Redact(text, nil) }
	hideAll := func(lines []string) []string {
		hidden := make([]string, len(lines))
		for i, line := range lines {
			hidden[i] = hide(line)
		}
		return hidden
	}
	m.Title, m.Why, m.Hint = hide(m.Title), hide(m.Why), hide(m.Hint)
	m.Evidence, m.Timeline = hideAll(m.Evidence), hideAll(m.Timeline)
	m.Facts, m.Logs = slices.Clone(m.Facts), slices.Clone(m.Logs)
	for i, f := range m.Facts {
		m.Facts[i].Value = hide(f.Value)
	}
	for i, l := range m.Logs {
		m.Logs[i].Lines = strings.Split(hide(strings.Join(l.Lines, "\n")), "\n") // as a whole: a key has many lines
	}
	return m
}
