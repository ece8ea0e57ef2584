package slack_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
	"rollback-agent/agent/notify/slack"
)

func TestMessagesLookAsInTheGoldenFiles(t *testing.T) {
	for name, m := range map[string]notify.Message{
		"rolled_back": rolledBack(), "held": held(), "succeeded": succeeded(), "progress": progress(),
		"trouble": trouble(), "recovered": recovered(),
	} {
		for mode := range modes(start(t)) {
			server := start(t)
			mustSend(t, modes(server)[mode], m, notify.Attempt{})
			wantGolden(t, name+"_"+mode, wantOne(t, server).Render())
		}
	}
}

func TestOneMessageFollowsTheDeployment(t *testing.T) {
	server := start(t)
	s := bot(server)
	ref := ""
	for _, m := range []notify.Message{progress(), held(), rolledBack()} {
		ref = mustSend(t, s, m, notify.Attempt{Ref: ref})
	}
	wantGolden(t, "followed", wantOne(t, server).Render())
}

func TestTextBesideTheBlocksIsAlwaysSet(t *testing.T) {
	for _, m := range []notify.Message{rolledBack(), {}, {Key: "k", Why: "\x00\x1b[0m  "}, {Title: " \n "}} {
		server := start(t)
		for mode, s := range modes(server) {
			mustSend(t, s, m, notify.Attempt{})
			for _, got := range server.Messages() {
				if strings.TrimSpace(got.Text) == "" {
					t.Errorf("%s: message %q has no text", mode, m.Title)
				}
			}
		}
	}
	server := start(t)
	mustSend(t, bot(server), rolledBack(), notify.Attempt{})
	want := "↩️ web: r8 failed and is rolled back: exit code 3 within 40 s, three times. r7 serves again &amp; is healthy"
	if got := wantOne(t, server).Text; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIconsTellSeveritiesApart(t *testing.T) {
	for _, c := range []struct {
		icon     notify.Icon
		severity agent.Severity
		want     string
	}{
		{notify.IconProgress, agent.SeverityInfo, "⏳"},
		{notify.IconGood, agent.SeverityInfo, "✅"},
		{notify.IconBack, agent.SeverityError, "↩️"},
		{notify.IconAsk, agent.SeverityWarning, "✋"},
		{notify.IconBad, agent.SeverityError, "🔴"},
		{notify.IconBad, agent.SeverityWarning, "⚠️"},
		{notify.IconInfo, agent.SeverityWarning, "⚠️"},
		{notify.IconInfo, agent.SeverityInfo, "ℹ️"},
		{notify.IconBad, agent.SeverityCritical, "🚨"},
		{"unheard of", agent.SeverityInfo, "ℹ️"},
	} {
		server := start(t)
		mustSend(t, hook(server), notify.Message{Title: "x", Icon: c.icon, Severity: c.severity}, notify.Attempt{})
		if got := wantOne(t, server).Blocks[0].Text.Text; got != c.want+" x" {
			t.Errorf("%s, %s: got %q, want %q", c.icon, c.severity, got, c.want+" x")
		}
	}
}

// nasty is what a log may say to ping people or to pretend to be ours.
const nasty = "<!channel> <!here> <@U123> @channel <https://evil.example|click> ``` *bold* & ````` \x1b[31mred\x1b[0m"

func TestNothingInAMessageIsMarkup(t *testing.T) {
	m := notify.Message{
		Key: "k", Host: nasty, Title: nasty, Why: nasty, Hint: nasty, Commands: []string{nasty}, At: at,
		Facts:    []notify.Fact{fact(nasty, nasty)},
		Evidence: slices.Repeat([]string{nasty}, 5), Timeline: []string{nasty},
		Logs: []notify.Tail{logOf(nasty, nasty, "```", "after")},
	}
	server := start(t)
	for mode, s := range modes(server) {
		server.Forget()
		mustSend(t, s, m, notify.Attempt{})
		for _, request := range server.Requests() {
			body := unescapedForm(t, request.Body)
			for _, markup := range []string{"<!channel", "<!here", "<@U", "<https:", "\x1b", `\u001b`, "[31m"} {
				if strings.Contains(body, markup) {
					t.Errorf("%s, %s: got %q in %s", mode, request.Path, markup, body)
				}
			}
		}
	}
	for _, message := range server.Messages() {
		for _, reply := range append(message.Replies, message) {
			for _, block := range reply.Blocks {
				if block.Text != nil && strings.Count(block.Text.Text, "```")%2 != 0 {
					t.Errorf("a code block is broken open: %q", block.Text.Text)
				}
				if block.Text != nil && strings.Count(block.Text.Text, "```") > 2 {
					t.Errorf("a log closed its code block: %q", block.Text.Text)
				}
				for _, text := range append(block.Fields, block.Elements...) {
					if text.Verbatim == nil || !*text.Verbatim {
						t.Errorf("Slack may make links of %q", text.Text)
					}
				}
			}
		}
	}
}

func TestWhatIsTooLongIsCut(t *testing.T) {
	long, longest := strings.Repeat("é<😀", 3_000), strings.Repeat("é<😀", 30_000) // 200 KB
	facts := make([]notify.Fact, 10_000)
	lines := make([]string, 10_000)
	tails := make([]notify.Tail, 100)
	for i := range lines {
		facts[i] = notify.Fact{Name: fmt.Sprintf("fact %d", i), Value: "v"}
		lines[i] = fmt.Sprintf("line %d of many that are rather long %s", i, strings.Repeat("x", 100))
	}
	for i := range tails {
		tails[i] = notify.Tail{Instance: fmt.Sprintf("web-%d", i), Lines: lines}
	}
	for name, m := range map[string]notify.Message{
		"one long line everywhere": {
			Title: long, Why: longest, Hint: long, Host: long, Key: long, Commands: []string{long}, Evidence: []string{long, "a", "b", long},
			Timeline: []string{long}, Facts: []notify.Fact{fact(long, long)}, Logs: []notify.Tail{logOf(long, longest)},
		},
		"many lines everywhere": {
			Title: "x", Facts: facts, Evidence: lines, Timeline: lines, Commands: lines, Logs: tails,
		},
		"many control characters": {Title: "x" + strings.Repeat("\x07", 10_000), Why: strings.Repeat("\xff\xfe", 10_000)},
	} {
		server := start(t)
		for mode, s := range modes(server) {
			s = map[bool]*slack.Sender{true: bot(server, manyLines), false: hook(server, manyLines)}[mode == "bot"]
			server.Forget()
			mustSend(t, s, m, notify.Attempt{})
			for _, request := range server.Requests() {
				if !utf8.Valid(request.Body) {
					t.Errorf("%s, %s: cut within a character", name, mode)
				}
			}
			if got, most := len(server.Requests()), 2; got > most {
				t.Errorf("%s, %s: got %d requests, want %d: blocks were refused", name, mode, got, most)
			}
		}
		if got := rendered(server.Messages()); !strings.Contains(got, "… (cut)") {
			t.Errorf("%s: got no mark of the cut in\n%s", name, got)
		}
	}
}

func manyLines(o *slack.Options) { o.LogLines = 100_000 }

func TestNewestLinesOfALogStay(t *testing.T) {
	m := rolledBack()
	m.Logs[0].Lines = nil
	for i := range 1000 {
		m.Logs[0].Lines = append(m.Logs[0].Lines, fmt.Sprintf("line %d", i))
	}
	server := start(t)
	mustSend(t, bot(server), m, notify.Attempt{})
	got := wantOne(t, server).Render()
	if !strings.Contains(got, "line 999") || !strings.Contains(got, "line 990") || strings.Contains(got, "line 989") {
		t.Errorf("got\n%s\nwant the last 10 lines", got)
	}
	none := start(t)
	mustSend(t, bot(none, func(o *slack.Options) { o.LogLines = 0 }), m, notify.Attempt{})
	if got := wantOne(t, none).Render(); strings.Contains(got, "line 9") {
		t.Errorf("got\n%s\nwant no log", got)
	}
}

func TestCommandsAreWholeOrNotThere(t *testing.T) {
	m := trouble()
	m.Commands = []string{"agent status", "rm -r /srv/" + strings.Repeat("x", 5000)}
	server := start(t)
	mustSend(t, hook(server), m, notify.Attempt{})
	if got := wantOne(t, server).Render(); !strings.Contains(got, "agent status\n") || strings.Contains(got, "rm -r") {
		t.Errorf("got\n%s\nwant the first command only", got)
	}
}

func FuzzMessageIsAccepted(f *testing.F) {
	f.Add("title", "why", "a\nb", 3, int64(1773500966))
	f.Add(nasty, nasty, nasty, 60, int64(-1))
	f.Add("", "", "", 0, int64(0))
	f.Add(strings.Repeat("&", 4000), strings.Repeat("`", 9000), strings.Repeat("😀\n", 3000), 4000, int64(1)<<60)
	server := start(f)
	senders := map[string]*slack.Sender{"bot": bot(server, manyLines), "webhook": hook(server, manyLines)}
	f.Fuzz(func(t *testing.T, title, why, text string, n int, unix int64) {
		n = min(max(n, 0), 300)
		lines := slices.Repeat(strings.Split(text, "\n"), 1+n%5)
		m := notify.Message{
			Key: title, Host: why, Title: title, Why: why, Hint: text, Commands: lines, Evidence: lines, Timeline: lines,
			Facts: slices.Repeat([]notify.Fact{fact(title, text), fact("", why)}, n), Loud: n%2 == 0, Open: n%3 == 0,
			Logs: slices.Repeat([]notify.Tail{logOf(title, lines...), logOf(why)}, n%20), At: time.Unix(unix, 0),
		}
		for mode, s := range senders {
			server.Forget()
			ref := mustSend(t, s, m, notify.Attempt{})
			m.Loud = true
			mustSend(t, s, m, notify.Attempt{Ref: ref})
			for _, request := range server.Requests() {
				if bytes.Contains(request.Body, []byte("<!channel")) {
					t.Errorf("%s: pings people", mode)
				}
			}
		}
		for _, message := range server.Messages() {
			if len(message.Blocks) == 0 {
				t.Errorf("blocks of %q were refused", title)
			}
			for _, reply := range message.Replies {
				if len(reply.Blocks) == 0 {
					t.Errorf("blocks of a reply to %q were refused", title)
				}
			}
			server.Delete(message.TS)
		}
	})
}
