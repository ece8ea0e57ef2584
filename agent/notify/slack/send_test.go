package slack_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"rollback-agent/agent/notify"
	"rollback-agent/agent/notify/slack"
	"rollback-agent/agent/testbed"
)

func unescapedForm(t testing.TB, body []byte) string {
	t.Helper()
	text := string(body)
	if !strings.HasPrefix(text, "{") {
		form, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		text = form.Get("text") + form.Get("blocks") + form.Get("metadata")
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(text)
}

// answering is how the Web API says that something is wrong.
func answering(code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"ok":false,"error":%q}`, code)
	}
}

// on answers otherwise for one method, and lets the rest through.
func on(server *testbed.Slack, method string, answer http.HandlerFunc) {
	server.Intercept(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, method) {
			answer(w, req)
			return
		}
		server.Serve(w, req)
	})
}

// lost takes a request and hangs up before the answer, as a crash in between
// does.
func lost(server *testbed.Slack) http.HandlerFunc {
	return func(_ http.ResponseWriter, req *http.Request) {
		server.Serve(discard{http.Header{}}, req)
		panic(http.ErrAbortHandler)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestField23UpdatesOneMessageInPlace(t *testing.T) {
	server := start(t)
	s := bot(server)
	if !s.Updates() || hook(server).Updates() {
		t.Error("only a bot can edit")
	}
	ref := mustSend(t, s, progress(), notify.Attempt{})
	if got := len(wantOne(t, server).Replies); got != 0 {
		t.Errorf("replies while there are no details: got %d, want 0", got)
	}
	ref = mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref})
	got := wantOne(t, server)
	if got.Edits != 1 || len(got.Replies) != 1 || !got.Replies[0].Broadcast {
		t.Errorf("got %d edits and replies %+v, want 1 edit and one reply that the channel shows", got.Edits, got.Replies)
	}
	server.Forget()
	if again := mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref}); again != ref {
		t.Errorf("reference of the same version: got %s, want %s", again, ref)
	}
	if posts, edits := server.Count("chat.postMessage"), server.Count("chat.update"); posts != 0 || edits != 1 {
		t.Errorf("for the same version: got %d posts and %d edits, want 0 and 1: its details are the same", posts, edits)
	}
}

func TestLoudFirstVersionPingsOnce(t *testing.T) {
	server := start(t)
	mustSend(t, bot(server), rolledBack(), notify.Attempt{})
	got := wantOne(t, server)
	if len(got.Replies) != 1 || got.Replies[0].Broadcast {
		t.Errorf("got replies %+v, want one that only the thread shows", got.Replies)
	}
}

func TestEveryLoudVersionIsNoticed(t *testing.T) {
	server := start(t)
	s := bot(server)
	ref := mustSend(t, s, progress(), notify.Attempt{})
	ref = mustSend(t, s, held(), notify.Attempt{Ref: ref})
	mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref})
	got := wantOne(t, server)
	if len(got.Replies) != 2 || !got.Replies[0].Broadcast || !got.Replies[1].Broadcast {
		t.Fatalf("got replies %+v, want the details and one notice, both in the channel", got.Replies)
	}
	if edits := got.Replies[0].Edits; edits != 1 {
		t.Errorf("edits of the details: got %d, want 1", edits)
	}
}

func TestQuietVersionPingsNobody(t *testing.T) {
	server := start(t)
	s := bot(server)
	ref := mustSend(t, s, progress(), notify.Attempt{})
	mustSend(t, s, succeeded(), notify.Attempt{Ref: ref})
	for _, reply := range wantOne(t, server).Replies {
		if reply.Broadcast {
			t.Errorf("a success is shown in the channel twice: %s", reply.Render())
		}
	}
}

func TestField23KilledBetweenPostAndMark(t *testing.T) {
	for name, channel := range map[string]string{"by id": testbed.SlackChannelID, "by name": "#deploys"} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			named := func(o *slack.Options) { o.Channel = channel }
			on(server, "chat.postMessage", lost(server))
			if _, err := bot(server, named).Send(t.Context(), rolledBack(), notify.Attempt{}); err == nil {
				t.Fatal("got no error although the answer was lost")
			}
			server.Intercept(nil)
			for range 210 { // of others: more than a page
				mustSend(t, hook(server), notify.Message{Title: "another"}, notify.Attempt{})
			}
			ref := mustSend(t, bot(server, named), rolledBack(), notify.Attempt{Unsure: true})
			mustSend(t, bot(server, named), rolledBack(), notify.Attempt{Ref: ref})
			if got := ours(server); len(got) != 1 || len(got[0].Replies) != 1 || got[0].Replies[0].Broadcast {
				t.Errorf("got\n%s\nwant one message with one quiet reply", rendered(got))
			}
		})
	}
}

func ours(server *testbed.Slack) []testbed.SlackMessage {
	var found []testbed.SlackMessage
	for _, m := range server.Messages() {
		if !m.Webhook {
			found = append(found, m)
		}
	}
	return found
}

func TestKilledBetweenReplyAndMark(t *testing.T) {
	server := start(t)
	s := bot(server)
	ref := mustSend(t, s, progress(), notify.Attempt{})
	on(server, "chat.postMessage", lost(server))
	ref, err := s.Send(t.Context(), rolledBack(), notify.Attempt{Ref: ref})
	if err == nil || ref == "" {
		t.Fatalf("got reference %q and error %v, want both", ref, err)
	}
	server.Intercept(nil)
	mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref, Unsure: true})
	if got := wantOne(t, server); len(got.Replies) != 1 {
		t.Errorf("got\n%s\nwant one reply", got.Render())
	}
}

func TestKilledBetweenEditAndPing(t *testing.T) {
	server := start(t)
	s := bot(server)
	mustSend(t, s, progress(), notify.Attempt{}) // and the reference is lost
	on(server, "chat.postMessage", answering("internal_error"))
	if _, err := s.Send(t.Context(), rolledBack(), notify.Attempt{Unsure: true}); err == nil {
		t.Fatal("got no error although nobody was pinged")
	}
	server.Intercept(nil)
	mustSend(t, s, rolledBack(), notify.Attempt{Unsure: true})
	mustSend(t, s, rolledBack(), notify.Attempt{Unsure: true})
	if got := wantOne(t, server); len(got.Replies) != 1 || !got.Replies[0].Broadcast {
		t.Errorf("got\n%s\nwant one reply that the channel shows", got.Render())
	}
}

func TestUnsureWithoutTheScopePostsAgain(t *testing.T) {
	server := start(t)
	mustSend(t, bot(server), progress(), notify.Attempt{})
	server.Change(func(o *testbed.SlackOptions) { o.Scopes = []string{"chat:write"} })
	var log strings.Builder
	s := bot(server, logged(&log))
	mustSend(t, s, progress(), notify.Attempt{Unsure: true})
	mustSend(t, s, progress(), notify.Attempt{Unsure: true})
	if got := len(server.Messages()); got != 3 {
		t.Errorf("messages: got %d, want 3", got)
	}
	if got := strings.Count(log.String(), "cannot look for messages"); got != 1 {
		t.Errorf("said %d times, want once: %s", got, log.String())
	}
}

func TestUnsureWhileSlackIsDownIsTriedAgain(t *testing.T) {
	server := start(t)
	on(server, "conversations.history", answering("internal_error"))
	if _, err := bot(server).Send(t.Context(), progress(), notify.Attempt{Unsure: true}); err == nil {
		t.Error("got no error although it could not look")
	}
	if got := len(server.Messages()); got != 0 {
		t.Errorf("messages: got %d, want 0", got)
	}
}
