// Package slack brings messages to a Slack channel: through an incoming webhook,
// which can only post, or as a bot, which keeps one message for each deployment
// up to date and puts details into its thread.
//
// Its one promise: whatever a message holds, Slack takes it, nobody is pinged by
// what a log says, and no error tells a secret. It never repeats by itself: it
// says whether a repetition makes sense, and whoever calls does the repeating.
//
// How a message looks, by its icon and severity:
//
//	🚨 critical, whatever the icon     ⚠️ bad or info that is a warning
//	🔴 bad                             ✅ good
//	↩️ back: something was put back     ✋ ask: a human decides
//	⏳ progress                         ℹ️ info
package slack

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
)

// Options say where messages go. A bot token with a channel goes before a
// webhook. What is in a file is read anew for every message: a changed secret
// needs no restart.
type Options struct {
	Log            *slog.Logger // nil: no log
	WebhookURL     agent.Secret
	WebhookURLFile string
	BotToken       agent.Secret
	BotTokenFile   string
	Channel        string        // its ID or name; for the bot
	APIURL         string        // "" is https://slack.com/api/
	LogLines       int           // of each instance; 0: none
	Timeout        time.Duration // of one request; 0: 10 s
}

// Sender is a [notify.Sender].
type Sender struct {
	opts Options
	log  *slog.Logger
	http *client

	mu       sync.Mutex
	warned   map[string]bool   // what was said once and is not said again
	channels map[string]string // IDs by what the config calls them
}

var _ notify.Sender = (*Sender)(nil)

// New makes a sender. It opens nothing: faults of its options show in Check and
// Send.
func New(opts Options) *Sender {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.APIURL = cmp.Or(opts.APIURL, "https://slack.com/api/")
	return &Sender{
		opts: opts, log: opts.Log, http: newClient(cmp.Or(opts.Timeout, 10*time.Second)),
		warned: map[string]bool{}, channels: map[string]string{},
	}
}

// Updates tells whether there is a bot: a webhook cannot edit.
func (s *Sender) Updates() bool {
	return (s.opts.BotToken != "" || s.opts.BotTokenFile != "") && s.opts.Channel != ""
}

// Send posts the message or edits the one that it posted before. A reference
// that is not "" is to be kept even when there is an error, too: the message is
// there, and only its details are missing. After an error that is neither a
// [notify.RefusedError] nor a [notify.BusyError] it is unknown what arrived: the
// next attempt is to be Unsure, and then looks for it.
func (s *Sender) Send(ctx context.Context, m notify.Message, earlier notify.Attempt) (string, error) {
	l, err := s.login()
	if err != nil {
		return "", err
	}
	w := writer{secrets: l.secrets, logLines: s.opts.LogLines}
	if !l.bot {
		if err := s.postHook(ctx, l, w.whole(m)); err != nil {
			return "", err
		}
		return "sent", nil
	}
	b := &bot{Sender: s, login: l, api: s.client(l), w: w, m: m}
	return b.send(ctx, earlier)
}

// once tells whether this was not said before.
func (s *Sender) once(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.warned[what]
	s.warned[what] = true
	return first
}

// newClient makes the one HTTP client. It follows no redirect: what it sends is
// for nobody else.
func newClient(timeout time.Duration) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyFromEnvironment
	return &client{timeout: timeout, http: &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}
