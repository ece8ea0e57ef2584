package slack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
	"rollback-agent/agent/notify/slack"
	"rollback-agent/agent/testbed"
)

func TestSecretsAreReadAnewForEveryMessage(t *testing.T) {
	server := start(t)
	dir := t.TempDir()
	token, url := filepath.Join(dir, "token"), filepath.Join(dir, "url")
	senders := map[string]*slack.Sender{
		token: bot(server, func(o *slack.Options) { o.BotToken, o.BotTokenFile = "", token }),
		url:   hook(server, func(o *slack.Options) { o.WebhookURL, o.WebhookURLFile = "", url }),
	}
	for round := range 2 {
		server.Change(func(o *testbed.SlackOptions) {
			o.Token, o.Secret = fmt.Sprint("xoxb-", round), fmt.Sprint("secret-", round)
		})
		write(t, token, "  "+server.Options().Token+"\n", 0o600)
		write(t, url, server.WebhookURL()+"\r\n", 0o600)
		for _, s := range senders {
			mustSend(t, s, trouble(), notify.Attempt{})
		}
	}
	for file, s := range senders {
		write(t, file, " \n", 0o600)
		_, err := s.Send(t.Context(), trouble(), notify.Attempt{})
		wantRefused(t, err, file+" is empty", true)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		_, err = s.Send(t.Context(), trouble(), notify.Attempt{})
		wantRefused(t, err, file, true)
	}
}

func write(t testing.TB, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func TestSecretThatEverybodyReadsIsMentionedOnce(t *testing.T) {
	server := start(t)
	file := filepath.Join(t.TempDir(), "token")
	var log strings.Builder
	s := bot(server, logged(&log), func(o *slack.Options) { o.BotToken, o.BotTokenFile = "", file })
	write(t, file, server.Options().Token, 0o640)
	mustSend(t, s, trouble(), notify.Attempt{})
	if log.String() != "" {
		t.Errorf("got %q, want nothing to say", log.String())
	}
	write(t, file, server.Options().Token, 0o644)
	mustSend(t, s, trouble(), notify.Attempt{})
	mustSend(t, s, trouble(), notify.Attempt{})
	if got := strings.Count(log.String(), "readable by everybody"); got != 1 {
		t.Errorf("got %q, want it said once", log.String())
	}
}

func TestSecretsDoNotTravelInTheClear(t *testing.T) {
	for _, c := range []struct {
		opts slack.Options
		want string
	}{
		{slack.Options{}, "no webhook"},
		{slack.Options{BotToken: "xoxb-1"}, "no webhook"}, // and no channel
		{slack.Options{WebhookURL: "http://hooks.slack.com/services/T1/B1/secret"}, "https"},
		{slack.Options{WebhookURL: "hooks.slack.com/services/T1/B1/secret"}, "no URL"},
		{slack.Options{WebhookURL: "https://%zz/services/T1/B1/secret"}, "no URL"},
		{slack.Options{BotToken: "xoxb-1", Channel: "c", APIURL: "http://192.0.2.1/api/"}, "https"},
	} {
		_, err := slack.New(c.opts).Send(t.Context(), trouble(), notify.Attempt{})
		if got := wantRefused(t, err, c.want, true); strings.Contains(got.Reason+got.Hint, "T1/B1") {
			t.Errorf("the error tells the secret: %+v", got)
		}
	}
}

// failures are all the ways in which a request can end badly.
func failures(server *testbed.Slack) map[string]http.HandlerFunc {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Location", "http://"+req.Host+req.URL.Path)
			w.Header().Set("Retry-After", "x"+req.URL.Path)
			w.WriteHeader(code)
			io.WriteString(w, body+req.URL.Path)
		}
	}
	secret := server.Options()
	failures := map[string]http.HandlerFunc{
		"hung up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"echo": func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			fmt.Fprintf(w, "%s %s", req.URL, body)
		},
		"says it": answering(secret.Token + secret.Secret),
		"half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"ok":`)
		},
		"no header": func(w http.ResponseWriter, req *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				io.WriteString(conn, req.URL.Path+"\r\n\r\n")
				conn.Close()
			}
		},
		"never": func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
	}
	for _, code := range []int{301, 302, 307, 400, 401, 403, 404, 410, 418, 429, 500, 502, 503} {
		failures[fmt.Sprint(code)] = status(code, "")
	}
	return failures
}

func TestNoErrorTellsASecret(t *testing.T) {
	server := start(t)
	secrets := []string{server.Options().Token, server.Options().Secret, server.WebhookURL()}
	short := func(o *slack.Options) { o.Timeout = 200 * time.Millisecond }
	check := func(name string, err error) {
		t.Helper()
		for ; err != nil; err = errors.Unwrap(err) {
			text := fmt.Sprintf("%s %+v %#v %s", err, err, err, agent.Hint(err))
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s: got %s", name, text)
				}
			}
		}
	}
	var log strings.Builder
	senders := map[string]*slack.Sender{"bot": bot(server, short, logged(&log)), "webhook": hook(server, short, logged(&log))}
	ask := func(name string) {
		for mode, s := range senders {
			for _, earlier := range []notify.Attempt{{}, {Unsure: true}} {
				_, err := s.Send(t.Context(), rolledBack(), earlier)
				if err == nil {
					t.Errorf("%s, %s: got no error", name, mode)
				}
				check(name+" "+mode, err)
			}
			_, err := s.Check(t.Context(), true)
			check(name+" check "+mode, err)
		}
	}
	for name, answer := range failures(server) {
		server.Intercept(answer)
		ask(name)
	}
	if err := server.Down(); err != nil {
		t.Fatal(err)
	}
	ask("down")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for mode, s := range senders {
		_, err := s.Send(ctx, trouble(), notify.Attempt{})
		check("cancelled "+mode, err)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context canceled", mode, err)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells a secret: %s", log.String())
		}
	}
}

func TestOwnSecretsLeaveNoMessage(t *testing.T) {
	server := start(t)
	for mode, s := range modes(server) {
		secrets := map[string][]string{
			"bot": {server.Options().Token}, "webhook": {server.WebhookURL(), server.Options().Secret},
		}[mode]
		all := strings.Join(secrets, " and ") + strings.Repeat("x", 380)
		m := notify.Message{
			Key: "k", Host: "h", Title: all, Why: all, Hint: all, Commands: []string{all}, At: at, Facts: []notify.Fact{fact(all, all)},
			Evidence: []string{all, all, all, all}, Timeline: []string{all}, Logs: []notify.Tail{logOf(all, all)},
		}
		server.Forget()
		mustSend(t, s, m, notify.Attempt{})
		for _, request := range server.Requests() {
			body := unescapedForm(t, request.Body) // the token as such is a field of its own
			for _, secret := range secrets {
				if strings.Contains(body, secret[:len(secret)-4]) {
					t.Errorf("%s, %s: got %q in %s", mode, request.Path, secret, body)
				}
			}
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	visits := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits++ }))
	defer elsewhere.Close()
	server := start(t)
	server.Intercept(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	for mode, s := range modes(server) {
		_, err := s.Send(t.Context(), trouble(), notify.Attempt{})
		wantAgain(t, err, "307")
		if visits != 0 {
			t.Errorf("%s: went where Slack sent it", mode)
		}
	}
}
