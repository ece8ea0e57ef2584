package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"rollback-agent/agent"
)

// Slack is where people hear of what happened. The zero value tells nobody.
type Slack struct {
	WebhookURL     agent.Secret
	WebhookURLFile string
	BotTokenFile   string
	Channel        string // of the bot; a webhook has its own
	On             []string
	LogLines       int // of each instance that failed
	APIURL         string
}

// Configured tells whether anybody is to be told.
func (s Slack) Configured() bool {
	return s.WebhookURL != "" || s.WebhookURLFile != "" || s.BotTokenFile != ""
}

// The occasions of a message.
const (
	OnHeld           = "held"
	OnRolledBack     = "rolled_back"
	OnRollbackFailed = "rollback_failed"
	OnFailed         = "failed"
	OnRecovered      = "recovered"
	OnTrouble        = "trouble"
	OnWaiting        = "waiting"
	OnSucceeded      = "succeeded"
)

func slackKeys() []key[Config] {
	return []key[Config]{
		{
			name: "webhook_url", absent: "no webhook", example: `"https://hooks.slack.com/services/T000/B000/XXXX"`,
			doc:  "Incoming webhook of the channel. It is a secret: better keep it in webhook_url_file.",
			form: secret(func(c *Config) *agent.Secret { return &c.Slack.WebhookURL }, isSlackURL),
		},
		{
			name: "webhook_url_file", absent: "no webhook", example: `"/etc/rollback-agent/slack-webhook"`,
			doc:  "File that holds the incoming webhook. It is read for every message: a new one needs no restart.",
			form: path(func(c *Config) *string { return &c.Slack.WebhookURLFile }),
		},
		{
			name: "bot_token_file", absent: "no bot", example: `"/etc/rollback-agent/slack-bot-token"`,
			doc: "File that holds a bot token (xoxb-…) with the scope chat:write, better with channels:history and channels:read, too (groups:… for a private channel): without them an agent that is killed while it sends may post a message twice. " +
				"With a bot each deployment is one message, kept up to date, with its details in the thread. It goes before a webhook.",
			form: path(func(c *Config) *string { return &c.Slack.BotTokenFile }),
		},
		{
			name: "channel", absent: "none; required with bot_token_file", example: `"C0123456789"`,
			doc:  "Channel that the bot writes to: its ID, which survives a rename, or its name. Invite the bot to it.",
			form: text(func(c *Config) *string { return &c.Slack.Channel }),
		},
		{
			name: "on", def: `["held", "rolled_back", "rollback_failed", "failed", "recovered", "trouble", "waiting"]`,
			doc: "What is told. held: a human has to decide. trouble: something that the agent needs does not work, such as a registry, the config or the agent itself. " +
				"waiting: mode is notify and something new waits for a human. succeeded: a deployment went well; with a bot token it is told anyway, in the deployment's one message.",
			form: someOf(func(c *Config) *[]string { return &c.Slack.On },
				OnHeld, OnRolledBack, OnRollbackFailed, OnFailed, OnRecovered, OnTrouble, OnWaiting, OnSucceeded),
		},
		{
			name: "log_lines", def: `10`,
			doc:  "How many of the last log lines of each failed container are sent; 0 sends none. Secrets in them are masked.",
			form: number(func(c *Config) *int { return &c.Slack.LogLines }, 0),
		},
		{
			name: "api_url", def: `"https://slack.com/api/"`, example: `"https://slack-gov.com/api/"`,
			doc:  "Slack's Web API, for a bot token.",
			form: text(func(c *Config) *string { return &c.Slack.APIURL }, isSlackURL),
		},
	}
}

// secret reads a value that no fault repeats.
func secret[T any](field func(*T) *agent.Secret, checks ...func(string) error) form[T] {
	return form[T]{"string", func(t *T, v value) error {
		s, ok := v.raw.(string)
		if !ok {
			return errors.New("must be a string in quotes")
		}
		for _, check := range checks {
			if err := check(s); err != nil {
				return err
			}
		}
		*field(t) = agent.Secret(s)
		return nil
	}}
}

// someOf reads a list of known words.
func someOf[T any](field func(*T) *[]string, words ...string) form[T] {
	return form[T]{"list of " + quoted(words), func(t *T, v value) error {
		chosen, err := v.list()
		for _, word := range chosen {
			if err == nil && !slices.Contains(words, word) {
				hint := suggest(word, words)
				if hint == "" {
					hint = "use " + quoted(words)
				}
				err = agent.WithHint(fmt.Errorf("unknown value %q", word), hint)
			}
		}
		if err == nil {
			*field(t) = chosen
		}
		return err
	}}
}

// isSlackURL never repeats the URL: it is a password.
func isSlackURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return agent.WithHint(errors.New("is no URL"), "for example https://hooks.slack.com/services/…")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return agent.WithHint(errors.New("is not https"), "a secret is only sent over TLS")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkSlack finds keys of [slack] that contradict or need each other.
func (l *loader) checkSlack(doc *document) {
	section, ok := doc.root.sub("slack")
	if !ok {
		return
	}
	at := func(name string) place { return place{doc.path, section.at(name)} }
	header := place{doc.path, doc.root.at("slack")}
	set := section.names()
	has := func(name string) bool { return slices.Contains(set, name) }
	switch s := l.cfg.Slack; {
	case has("webhook_url") && has("webhook_url_file"):
		l.top.add(at("webhook_url"), "webhook_url and webhook_url_file exclude each other", "keep the file")
	case has("bot_token_file") && !has("channel"):
		l.top.add(at("bot_token_file"), "channel is missing", `add channel = "C0123456789", the channel that the bot writes to`)
	case has("channel") && !has("bot_token_file"):
		l.top.warn(at("channel"), "channel has no effect without bot_token_file", "a webhook belongs to one channel already")
	case !s.Configured() && !has("webhook_url"):
		l.top.warn(header, "[slack] names neither a webhook nor a bot, so nobody is told", "add webhook_url_file, or bot_token_file and channel")
	}
	if s := l.cfg.Slack.Channel; strings.ContainsAny(s, " \t") {
		l.top.add(at("channel"), fmt.Sprintf("%q is no channel", s), "its ID stands at the end of the channel's About tab")
	}
}
