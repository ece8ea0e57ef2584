package slack_test

import (
	"strings"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/notify/slack"
	"rollback-agent/agent/testbed"
)

func TestCheckSaysWhatItFound(t *testing.T) {
	server := start(t)
	named := func(o *slack.Options) { o.Channel = "#deploys" }
	for _, c := range []struct {
		sender *slack.Sender
		post   bool
		want   string
		sent   int
	}{
		{bot(server), false, "bot rollback-agent in workspace Acme, channel #deploys", 0},
		{bot(server, named), false, "bot rollback-agent in workspace Acme, channel #deploys", 0},
		{bot(server), true, "bot rollback-agent in workspace Acme, channel #deploys, test message posted", 1},
		{hook(server), false, "webhook at 127.0.0.1", 1},
		{hook(server), true, "webhook at 127.0.0.1", 2},
	} {
		got, err := c.sender.Check(t.Context(), c.post)
		if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
		if sent := len(server.Messages()); sent != c.sent {
			t.Errorf("%s, post %t: got %d messages, want %d", c.want, c.post, sent, c.sent)
		}
	}
}

func TestCheckHasAHintForEveryFault(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*testbed.SlackOptions)
		channel string
		want    string
		hint    string
	}{
		"another token":    {func(o *testbed.SlackOptions) { o.Token = "xoxb-another" }, "", "invalid_auth", "slack.bot_token"},
		"cannot write":     {func(o *testbed.SlackOptions) { o.Scopes = []string{"channels:read"} }, "", "missing_scope", "chat:write"},
		"not a member":     {func(o *testbed.SlackOptions) { o.Outside = true }, "", "not_in_channel", "/invite"},
		"not a member yet": {func(o *testbed.SlackOptions) { o.Outside = true }, "deploys", "not_in_channel", "/invite"},
		"archived":         {func(o *testbed.SlackOptions) { o.Archived = true }, "", "is_archived", "unarchive"},
		"unknown channel":  {func(*testbed.SlackOptions) {}, "C0000000000", "channel_not_found", "C0000000000"},
	} {
		server := start(t)
		s := bot(server, func(o *slack.Options) {
			if c.channel != "" {
				o.Channel = c.channel
			}
		})
		server.Change(c.change)
		_, err := s.Check(t.Context(), false)
		if wantRefused(t, err, c.want, true); !strings.Contains(agent.Hint(err), c.hint) {
			t.Errorf("%s: got hint %q, want %q in it", name, agent.Hint(err), c.hint)
		}
	}
	server := start(t)
	s := hook(server)
	server.Change(func(o *testbed.SlackOptions) { o.Secret = "another" })
	_, err := s.Check(t.Context(), false)
	if wantRefused(t, err, "invalid_token", true); !strings.Contains(agent.Hint(err), "slack.webhook_url") {
		t.Errorf("got hint %q, want where the URL came from", agent.Hint(err))
	}
}

func TestCheckWithFewScopesSaysWhatItCannotKnow(t *testing.T) {
	server := start(t, testbed.SlackOptions{Scopes: []string{"chat:write"}})
	got, err := bot(server).Check(t.Context(), false)
	if want := "channel C0TESTBED01 (not looked up: missing_scope)"; err != nil || !strings.HasSuffix(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	public := start(t, testbed.SlackOptions{Scopes: []string{"chat:write", "chat:write.public", "channels:read"}, Outside: true})
	for _, channel := range []string{testbed.SlackChannelID, "#deploys"} {
		got, err := bot(public, func(o *slack.Options) { o.Channel = channel }).Check(t.Context(), false)
		if err != nil || !strings.Contains(got, "deploys") {
			t.Errorf("%s: got %q, %v, want a bot that may post anywhere", channel, got, err)
		}
	}
}
