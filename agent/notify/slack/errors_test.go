package slack_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent/notify"
	"rollback-agent/agent/notify/slack"
	"rollback-agent/agent/testbed"
)

func TestWordsOfTheWebAPI(t *testing.T) {
	message := []string{"invalid_blocks", "msg_too_long", "no_text", "too_many_attachments", "invalid_arguments"}
	account := []string{
		"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "missing_scope",
		"channel_not_found", "not_in_channel", "is_archived", "action_prohibited", "posting_to_general_channel_denied",
		"org_login_required", "ekm_access_denied",
	}
	again := []string{"internal_error", "fatal_error", "service_unavailable", "request_timeout", "never_heard_of"}
	server := start(t)
	for _, word := range append(append(message, account...), again...) {
		server.Forget()
		server.Intercept(answering(word))
		_, err := bot(server).Send(t.Context(), trouble(), notify.Attempt{})
		tries := server.Count("chat.postMessage")
		switch {
		case contains(message, word):
			wantRefused(t, err, word, false)
			if tries != 2 {
				t.Errorf("%s: got %d tries, want one with blocks and one without", word, tries)
			}
		case contains(account, word):
			wantRefused(t, err, word, true)
			if tries != 1 {
				t.Errorf("%s: got %d tries, want 1", word, tries)
			}
		default:
			wantAgain(t, err, word)
		}
	}
	server.Intercept(answering("ratelimited"))
	_, err := bot(server).Send(t.Context(), trouble(), notify.Attempt{})
	wantBusy(t, err, 30*time.Second)
}

func contains(words []string, word string) bool {
	return slices.Contains(words, word)
}

// wantAgain wants an error that is worth a repetition.
func wantAgain(t testing.TB, err error, part string) {
	t.Helper()
	_, refused := errors.AsType[*notify.RefusedError](err)
	_, busy := errors.AsType[*notify.BusyError](err)
	if err == nil || refused || busy || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want an error with %q that is worth a repetition", err, part)
	}
}

func TestWordsOfTheWebhook(t *testing.T) {
	for _, c := range []struct {
		status  int
		word    string
		account bool
	}{
		{400, "invalid_blocks", false},
		{400, "invalid_payload", false},
		{400, "no_text", false},
		{403, "invalid_token", true},
		{403, "action_prohibited", true},
		{403, "posting_to_general_channel_denied", true},
		{404, "no_service", true},
		{404, "channel_not_found", true},
		{410, "channel_is_archived", true},
	} {
		server := start(t)
		server.Intercept(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			io.WriteString(w, c.word)
		})
		_, err := hook(server).Send(t.Context(), trouble(), notify.Attempt{})
		wantRefused(t, err, c.word, c.account)
		if got, want := len(server.Requests()), map[bool]int{true: 1, false: 2}[c.account]; got != want {
			t.Errorf("%s: got %d tries, want %d", c.word, got, want)
		}
	}
}

func TestOddAnswersAreWorthARepetition(t *testing.T) {
	server := start(t)
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{500, "<html>oops</html>", "500"},
		{503, "", "503"},
		{302, "", "302"},
		{200, "<html>log in to this network</html>", "not one that Slack gives"},
		{200, "{}", "not one that Slack gives"},
		{200, `{"ok":false}`, "not one that Slack gives"},
		{200, `{"ok":false,"error":"Bad Thing <b>"}`, "not one that Slack gives"},
		{404, "<html>no such page</html>", "404"},
	} {
		server.Intercept(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", server.APIURL())
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		for mode, s := range modes(server) {
			server.Forget()
			_, err := s.Send(t.Context(), trouble(), notify.Attempt{})
			wantAgain(t, err, c.want)
			if got := len(server.Requests()); got != 1 {
				t.Errorf("%s, status %d: got %d requests, want 1", mode, c.status, got)
			}
		}
	}
}

func TestBusySlackSaysForHowLong(t *testing.T) {
	server := start(t)
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": 30 * time.Second, "soon": 30 * time.Second, "0": time.Second, "-4": time.Second, "999999999": time.Hour,
	} {
		server.Intercept(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		for _, s := range modes(server) {
			_, err := s.Send(t.Context(), trouble(), notify.Attempt{})
			wantBusy(t, err, want)
		}
	}
}

func TestStateOfTheWorkspaceIsUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		change        func(*testbed.SlackOptions)
		bot, hook     string
		botAs, hookAs string // a part of the hint
	}{
		"another token":  {func(o *testbed.SlackOptions) { o.Token = "xoxb-another" }, "invalid_auth", "", "slack.bot_token", ""},
		"no scope":       {func(o *testbed.SlackOptions) { o.Scopes = []string{"channels:read"} }, "missing_scope", "", "chat:write", ""},
		"not a member":   {func(o *testbed.SlackOptions) { o.Outside = true }, "not_in_channel", "", "/invite", ""},
		"archived":       {func(o *testbed.SlackOptions) { o.Archived = true }, "is_archived", "channel_is_archived", "unarchive", "archived"},
		"another secret": {func(o *testbed.SlackOptions) { o.Secret = "another" }, "", "invalid_token", "", "slack.webhook_url"},
	} {
		server := start(t)
		senders := modes(server)
		server.Change(c.change)
		for mode, want := range map[string][2]string{"bot": {c.bot, c.botAs}, "webhook": {c.hook, c.hookAs}} {
			_, err := senders[mode].Send(t.Context(), trouble(), notify.Attempt{})
			if want[0] == "" {
				if err != nil {
					t.Errorf("%s, %s: got %v", name, mode, err)
				}
				continue
			}
			if hint := wantRefused(t, err, want[0], true).Hint; !strings.Contains(hint, want[1]) {
				t.Errorf("%s, %s: got hint %q, want %q in it", name, mode, hint, want[1])
			}
		}
	}
	server := start(t)
	_, err := bot(server, func(o *slack.Options) { o.Channel = "#nowhere" }).Send(t.Context(), trouble(), notify.Attempt{})
	if hint := wantRefused(t, err, "channel_not_found", true).Hint; !strings.Contains(hint, "#nowhere") {
		t.Errorf("got hint %q, want the channel in it", hint)
	}
}
