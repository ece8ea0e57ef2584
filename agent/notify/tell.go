package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"rollback-agent/agent"
)

// message says what a delivery has to tell, as it is now.
func (n *Notifier) message(d agent.Delivery) (Message, error) {
	m, err := n.ofEvent(d), error(nil)
	if d.Event.Kind == agent.EventTransition {
		m, err = n.ofDeployment(d)
	}
	m.Key, m.Host, m.Service = d.Key+" on "+n.using.Host, n.using.Host, d.Service
	m.Commands = n.there(m.Commands)
	return m.redacted(), err
}

// there says on which host commands are to be run, in a way that may be pasted, too.
func (n *Notifier) there(commands []string) []string {
	if len(commands) == 0 {
		return nil
	}
	return append([]string{"# on " + n.using.Host + ":"}, commands...)
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
	case e.Kind == agent.EventInvalid: // nothing is touched
		m.Icon, m.Severity = IconInfo, agent.SeverityWarning
	}
	if strings.Contains(m.Why, m.Hint) {
		m.Hint = ""
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

// headline says what an event is about, where, and what happened.
func (n *Notifier) headline(e agent.Event) string {
	switch {
	case isMended(e) && e.Reason == agent.ReasonConfig:
		return n.hosts(cmp.Or(e.Subject, e.Service) + " is not the agent's business any more")
	case e.Kind == agent.EventTrouble:
		return n.hosts(e.Subject + " does not work")
	case e.Kind == agent.EventMended:
		return n.hosts(e.Subject + " works again")
	}
	return n.title(cmp.Or(e.Service, "the agent"), ofService(e))
}

func ofService(e agent.Event) string {
	switch e.Kind {
	case agent.EventInvalid:
		return "its files cannot be loaded, what serves is untouched"
	case agent.EventValid:
		return "its files can be loaded again"
	case agent.EventRecovered:
		return "recovered"
	case agent.EventSkipped:
		return "something new waits for you"
	case agent.EventPaused:
		return "automation is paused"
	}
	if e.Reason == agent.ReasonDown {
		return "nothing was watched for a while"
	}
	return "needs attention"
}

// What a title may take: Slack has room for 150, and a reminder begins with its age.
const (
	maxTitle = 126
	maxName  = 24 // of a service and of a host, where there is not room for both
)

// title names the service and the host before it says what happened: people read it
// on a phone, where nothing else is shown.
func (n *Notifier) title(service, what string) string {
	host := n.using.Host
	if tooLong := func() bool { return utf8.RuneCountInString(service+" on "+host+": "+what) > maxTitle }; tooLong() {
		if host, _, _ = strings.Cut(host, "."); tooLong() {
			service, host = clip(service, maxName), clip(host, maxName)
		}
	}
	return service + " on " + host + ": " + what
}

// hosts is the title of what concerns every service of the host.
func (n *Notifier) hosts(what string) string { return clip(n.using.Host, maxName) + ": " + what }

func clip(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
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
