package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/notify"
	"rollback-agent/agent/notify/slack"
)

// settings say who is told of what. The sender stays the same while its config
// does: it knows what it has sent.
func (d *Daemon) settings(cfg *config.Config) notify.Settings {
	if !reflect.DeepEqual(d.slack, cfg.Slack) {
		d.slack, d.sender = cfg.Slack, newSender(d, cfg.Slack)
	}
	settings := notify.Settings{Sender: d.sender, Host: cfg.Host}
	for _, on := range cfg.Slack.On {
		settings.On = append(settings.On, notify.Occasion(on))
	}
	return settings
}

func newSender(d *Daemon, cfg config.Slack) notify.Sender {
	if !cfg.Configured() {
		return nil
	}
	return slack.New(slackOptions(d.log, cfg))
}

func slackOptions(log *slog.Logger, c config.Slack) slack.Options {
	return slack.Options{
		Log: log, WebhookURL: c.WebhookURL, WebhookURLFile: c.WebhookURLFile, BotTokenFile: c.BotTokenFile,
		Channel: c.Channel, APIURL: c.APIURL, LogLines: c.LogLines,
	}
}

// rejected is a config that was not taken over.
type rejected struct {
	since time.Time
	why   string // "" for none
}

func rejectedNow(faults agent.Faults) rejected {
	if len(faults) == 0 {
		return rejected{}
	}
	return rejected{time.Now(), faults.Error()}
}

const configSubject = "config"

func configTrouble(message string) agent.Event {
	return agent.Event{
		Kind: agent.EventTrouble, Subject: configSubject, Reason: agent.ReasonInvalid, Message: message,
		Hint: "`agent check` shows every fault", Severity: agent.SeverityError,
	}
}

// configRejected tells whether the faults are new.
func (d *Daemon) configRejected(faults agent.Faults) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rejected.why == faults.Error() {
		return false
	}
	since := d.rejected.since
	d.rejected = rejectedNow(faults)
	if !since.IsZero() {
		d.rejected.since = since
	}
	return true
}

// configAccepted ends the trouble about the config, of this process or of the one
// before.
func (d *Daemon) configAccepted() {
	d.mu.Lock()
	was := d.rejected.why != ""
	d.rejected = rejected{}
	d.mu.Unlock()
	if was || d.wasTold(configSubject) {
		d.record(agent.Event{Kind: agent.EventMended, Subject: configSubject, Message: "the config is taken over", Severity: agent.SeverityInfo})
	}
}

// recall remembers the troubles that an earlier process told, or was about to.
func (d *Daemon) recall() []agent.Event {
	d.recalled = d.openTroubles()
	return slices.Collect(maps.Values(d.recalled))
}

// wasTold tells whether people know of a trouble and not of its end, or are about to.
func (d *Daemon) wasTold(subject string) bool {
	_, open := d.openTroubles()[subject]
	return open
}

// openTroubles are those that have not ended, by subject: people were told of them, or
// will be.
func (d *Daemon) openTroubles() map[string]agent.Event {
	open := map[string]agent.Event{}
	deliveries, told, err := d.store.Outbox()
	for _, delivery := range deliveries {
		if delivery.Event.Kind == agent.EventTrouble && (delivery.Told || delivery.Pending()) {
			open[delivery.Event.Subject] = delivery.Event
		}
	}
	for more := err == nil; more; { // what nobody has put into the outbox yet
		var events []agent.Event
		events, err = d.store.Events(told, eventPage)
		for _, e := range events {
			told = e.Seq
			switch e.Kind {
			case agent.EventTrouble:
				open[e.Subject] = e
			case agent.EventMended:
				delete(open, e.Subject)
			}
		}
		more = err == nil && len(events) == eventPage
	}
	if err != nil {
		d.log.Error("looking for troubles that go on", "error", err)
	}
	return open
}

// eventPage is how many events are read at a time.
const eventPage = 500

// Notices tells what a human should know of the host as a whole.
func (d *Daemon) Notices(context.Context) ([]agent.Notice, error) {
	var notices []agent.Notice
	d.mu.Lock()
	r := d.rejected
	d.mu.Unlock()
	if r.why != "" {
		notices = append(notices, agent.Notice{
			Subject: configSubject, Since: r.since, Message: "not taken over: " + r.why, Hint: "`agent check` shows every fault",
		})
	}
	t := d.people.Trouble()
	if t.Error != "" {
		notices = append(notices, agent.Notice{
			Subject: "slack", Since: t.Since, Message: fmt.Sprintf("%s; %d messages wait", t.Error, t.Waiting), Hint: t.Hint,
		})
	}
	for _, refused := range t.Refused {
		notices = append(notices, agent.Notice{Subject: "slack", Message: "message about " + refused})
	}
	return notices, nil
}
