package slack_test

import (
	"errors"
	"flag"
	"log/slog"
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

var update = flag.Bool("update", false, "write the golden files anew")

var at = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func start(t testing.TB, opts ...testbed.SlackOptions) *testbed.Slack {
	t.Helper()
	var o testbed.SlackOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	server, err := testbed.StartSlack(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

func bot(server *testbed.Slack, change ...func(*slack.Options)) *slack.Sender {
	opts := slack.Options{
		BotToken: agent.Secret(server.Options().Token), Channel: testbed.SlackChannelID,
		APIURL: server.APIURL(), LogLines: 10,
	}
	for _, f := range change {
		f(&opts)
	}
	return slack.New(opts)
}

func hook(server *testbed.Slack, change ...func(*slack.Options)) *slack.Sender {
	opts := slack.Options{WebhookURL: agent.Secret(server.WebhookURL()), LogLines: 10}
	for _, f := range change {
		f(&opts)
	}
	return slack.New(opts)
}

// modes are both ways to Slack, for what must hold in each.
func modes(server *testbed.Slack) map[string]*slack.Sender {
	return map[string]*slack.Sender{"bot": bot(server), "webhook": hook(server)}
}

func logged(log *strings.Builder) func(*slack.Options) {
	return func(o *slack.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) }
}

func mustSend(t testing.TB, s *slack.Sender, m notify.Message, earlier notify.Attempt) string {
	t.Helper()
	ref, err := s.Send(t.Context(), m, earlier)
	if err != nil {
		t.Fatalf("sending %q: %v", m.Title, err)
	}
	if ref == "" {
		t.Fatalf("sending %q: got no reference", m.Title)
	}
	return ref
}

func wantOne(t testing.TB, server *testbed.Slack) testbed.SlackMessage {
	t.Helper()
	messages := server.Messages()
	if len(messages) != 1 {
		t.Fatalf("messages in the channel: got %d, want 1:\n%s", len(messages), rendered(messages))
	}
	return messages[0]
}

func rendered(messages []testbed.SlackMessage) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(m.Render() + "\n")
	}
	return b.String()
}

func wantGolden(t testing.TB, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func wantBusy(t testing.TB, err error, after time.Duration) {
	t.Helper()
	if busy, ok := errors.AsType[*notify.BusyError](err); !ok || busy.After != after {
		t.Errorf("got %v, want to be asked to wait for %s", err, after)
	}
}

func wantRefused(t testing.TB, err error, reason string, account bool) *notify.RefusedError {
	t.Helper()
	refused, ok := errors.AsType[*notify.RefusedError](err)
	if !ok {
		t.Fatalf("got %v, want a refusal: %s", err, reason)
	}
	if !strings.Contains(refused.Reason, reason) || refused.Account != account {
		t.Errorf("got reason %q, account %t, want %q, %t", refused.Reason, refused.Account, reason, account)
	}
	if account && refused.Hint == "" {
		t.Errorf("%s: got no hint", reason)
	}
	return refused
}

func fact(name, value string) notify.Fact { return notify.Fact{Name: name, Value: value} }

func logOf(instance string, lines ...string) notify.Tail {
	return notify.Tail{Instance: instance, Lines: lines}
}

func progress() notify.Message {
	return notify.Message{
		Key: "deployment/17 on vm-17", Host: "vm-17", Service: "web", Severity: agent.SeverityInfo, Icon: notify.IconProgress,
		Title: "web: deploying r8, verifying", Open: true,
		Facts:    []notify.Fact{fact("Deployment", "17 by agent"), fact("From → to", "r7 web:1.4 → r8 web:1.5")},
		Timeline: []string{"+0s queued (changed)", "+1s fetching (started)"},
		Commands: []string{"agent show 17"}, At: at,
	}
}

func succeeded() notify.Message {
	m := progress()
	m.Icon, m.Title, m.Open = notify.IconGood, "web: r8 is deployed", false
	m.Facts = append(m.Facts, fact("Took", "1m12s"))
	m.Timeline = append(m.Timeline, "+1m12s succeeded (healthy)")
	return m
}

func rolledBack() notify.Message {
	m := progress()
	m.Severity, m.Icon, m.Open, m.Loud = agent.SeverityError, notify.IconBack, false, true
	m.Title = "web: r8 failed and is rolled back"
	m.Why = "exit code 3 within 40 s, three times. r7 serves again & is healthy"
	m.Evidence = []string{
		"crash: web-1 exited 3 times, limit is 2", "health: GET http://localhost:3000/health: connection refused",
		"web-1 is exited, exit code 3", "web-2 is exited, exit code 3", "worker-1 is running, 1 restarts",
	}
	m.Logs = []notify.Tail{logOf("web-1", "starting", "  config: <none>", "panic: missing DATABASE_URL")}
	m.Timeline = append(m.Timeline, "+40s rolling_back (crash)", "+52s rolled_back (healthy)")
	m.Hint = "fix the image and push it again; `agent retry web` deploys the same one"
	m.Commands = []string{"agent show 17", "agent retry web"}
	return m
}

func held() notify.Message {
	m := rolledBack()
	m.Severity, m.Icon, m.Open = agent.SeverityWarning, notify.IconAsk, true
	m.Title = "web: r8 is held, decide"
	m.Commands = []string{"agent keep 17", "agent rollback web"}
	return m
}

func trouble() notify.Message {
	return notify.Message{
		Key: "trouble/registry ghcr.io on vm-17", Host: "vm-17", Severity: agent.SeverityWarning, Icon: notify.IconBad, Loud: true,
		Title: "registry ghcr.io does not work", Why: "asking for ghcr.io/acme/web:1.4: 503 Service Unavailable",
		Hint: "nothing new is deployed until it answers", Commands: []string{"agent events --last 20"}, At: at,
	}
}

func recovered() notify.Message {
	m := trouble()
	m.Severity, m.Icon, m.Title = agent.SeverityInfo, notify.IconGood, "registry ghcr.io works again"
	m.Facts, m.At = []notify.Fact{fact("It lasted", "12m03s")}, at.Add(12*time.Minute)
	m.Why, m.Hint, m.Commands = "", "", nil
	return m
}
