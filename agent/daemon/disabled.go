package daemon

import (
	"fmt"
	"strings"
	"time"

	"rollback-agent/agent"
)

// disabledPatience is how long a service may be disabled before people are told: a
// config is being edited, or a file system comes up a minute after the agent.
const disabledPatience = time.Minute

// disabled is what people know of a service that its config disables. Guarded by
// Daemon.mu.
type disabled struct {
	since time.Time // zero: it is not
	told  bool
}

func disabledSubject(service string) string { return "config of " + service }

// tellDisabled tells people of services that stay disabled, and of their end.
func (d *Daemon) tellDisabled(now time.Time) {
	var events []agent.Event
	d.mu.Lock()
	for _, s := range d.slots {
		if e, ok := s.disabledNow(now); ok {
			events = append(events, e)
		}
	}
	d.mu.Unlock()
	for _, e := range events {
		d.record(e)
	}
}

// disabledNow returns what is news. The lock is held.
func (s *slot) disabledNow(now time.Time) (agent.Event, bool) {
	e := agent.Event{At: now, Subject: disabledSubject(s.name), Reason: agent.ReasonInvalid}
	switch broken := s.now.broken; {
	case broken == nil:
		ends := s.disabled.told
		s.disabled = disabled{}
		e.Kind, e.Severity, e.Message = agent.EventMended, agent.SeverityInfo, "its faults are mended"
		return e, ends
	case s.disabled.since.IsZero():
		s.disabled.since = now
	case !s.disabled.told && now.Sub(s.disabled.since) >= disabledPatience:
		s.disabled.told = true
		e.Kind, e.Severity, e.Hint = agent.EventTrouble, agent.SeverityError, "`agent check` shows every fault"
		e.Message = fmt.Sprintf("service %q is disabled, nothing of it is watched or deployed: %s", s.name, broken.Faults.Error())
		return e, true
	}
	return e, false
}

// endStale ends what people would be reminded of for ever: troubles of services that
// were taken out of the config while the agent was away.
func (d *Daemon) endStale() {
	records, err := d.store.Services()
	if err != nil {
		d.log.Error("looking for services that are gone", "error", err)
	}
	var names []string
	for _, r := range records {
		names = append(names, r.Name)
	}
	for subject := range d.openTroubles() {
		if name, ok := strings.CutPrefix(subject, disabledSubject("")); ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		d.mu.Lock()
		_, known := d.slots[name]
		d.mu.Unlock()
		if !known {
			d.endTroubles(name)
		}
	}
}

// endTroubles ends what people know of a service that is not the agent's business any
// more.
func (d *Daemon) endTroubles(name string) {
	const gone = "it was taken out of the config"
	now := time.Now()
	if subject := disabledSubject(name); d.wasTold(subject) {
		d.record(agent.Event{At: now, Kind: agent.EventMended, Subject: subject, Reason: agent.ReasonConfig, Message: gone, Severity: agent.SeverityInfo})
	}
	record, err := d.store.Service(name)
	if err != nil {
		d.log.Error("looking up a service that is gone", "service", name, "error", err)
		return
	}
	if record.Invalid == "" && !record.Critical {
		return
	}
	entry := agent.Entry{Service: &record}
	if record.Invalid != "" {
		entry.Event = &agent.Event{At: now, Kind: agent.EventValid, Service: name, Reason: agent.ReasonConfig, Message: gone, Severity: agent.SeverityInfo}
	}
	record.Invalid, record.Critical = "", false
	if _, err := d.store.Record(entry); err != nil {
		d.log.Error("recording that a service is gone", "service", name, "error", err)
	}
}
