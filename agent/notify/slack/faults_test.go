package slack_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rollback-agent/agent/notify"
	"rollback-agent/agent/notify/slack"
)

func TestWhatCannotBeEditedIsPostedAnew(t *testing.T) {
	for _, code := range []string{"message_not_found", "cant_update_message", "edit_window_closed"} {
		server := start(t)
		s := bot(server)
		ref := mustSend(t, s, held(), notify.Attempt{})
		on(server, "chat.update", answering(code))
		again := mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref})
		messages := server.Messages()
		if len(messages) != 2 || len(messages[1].Replies) != 1 || messages[1].Replies[0].Broadcast || again == ref {
			t.Errorf("%s: got\n%s\nwant two messages with details", code, rendered(messages))
		}
	}
}

func TestDeletedDetailsArePostedAnew(t *testing.T) {
	server := start(t)
	s := bot(server)
	ref := mustSend(t, s, held(), notify.Attempt{})
	if err := server.Delete(wantOne(t, server).Replies[0].TS); err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref})
	if got := wantOne(t, server).Replies; len(got) != 1 || !got[0].Broadcast {
		t.Errorf("got replies %+v, want the details again, in the channel", got)
	}
}

func TestFailedThreadKeepsTheMessage(t *testing.T) {
	server := start(t)
	s := bot(server)
	var posts atomic.Int32
	on(server, "chat.postMessage", func(w http.ResponseWriter, req *http.Request) {
		if posts.Add(1) > 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		server.Serve(w, req)
	})
	ref, err := s.Send(t.Context(), rolledBack(), notify.Attempt{})
	if err == nil || ref == "" {
		t.Fatalf("got reference %q and error %v, want both", ref, err)
	}
	server.Intercept(nil)
	mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref})
	if got := wantOne(t, server); len(got.Replies) != 1 || got.Replies[0].Broadcast {
		t.Errorf("got\n%s\nwant one message with one reply, quiet because the message was new", got.Render())
	}
}

func TestAnotherChannelGetsAMessageOfItsOwn(t *testing.T) {
	server := start(t)
	ref := mustSend(t, bot(server), progress(), notify.Attempt{})
	server.Forget()
	mustSend(t, bot(server, func(o *slack.Options) { o.Channel = "deploys" }), succeeded(), notify.Attempt{Ref: ref})
	if got := server.Count("chat.update"); got != 0 {
		t.Errorf("edits in a channel that the config left: got %d, want 0", got)
	}
	mustSend(t, bot(server), succeeded(), notify.Attempt{Ref: "sent"}) // by a webhook, once
	if got := len(server.Messages()); got != 3 {
		t.Errorf("messages: got %d, want 3", got)
	}
}

func TestRefusedLooksGoAsPlainText(t *testing.T) {
	for _, code := range []string{"invalid_blocks", "msg_blocks_too_long", "metadata_too_large"} {
		server := start(t)
		picky := func(w http.ResponseWriter, req *http.Request) {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			form, err := url.ParseQuery(string(body))
			if err != nil || len(form.Get("blocks")) > len("[]") {
				answering(code)(w, req)
				return
			}
			req.Body = io.NopCloser(strings.NewReader(string(body)))
			server.Serve(w, req)
		}
		server.Intercept(picky)
		var log strings.Builder
		s := bot(server, logged(&log))
		ref := mustSend(t, s, progress(), notify.Attempt{})
		mustSend(t, s, rolledBack(), notify.Attempt{Ref: ref})
		got := wantOne(t, server)
		if text := got.Render(); !strings.Contains(text, "From → to: r7 web:1.4 → r8 web:1.5") || got.Edits != 1 {
			t.Errorf("%s: got\n%s\nwant the facts as plain text", code, text)
		}
		if !strings.Contains(log.String(), code) {
			t.Errorf("log: got %q, want the reason", log.String())
		}
	}
}

func TestRefusedDetailsDoNotStopTheMessage(t *testing.T) {
	server := start(t)
	on(server, "chat.postMessage", func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if strings.Contains(string(body), "thread_ts") {
			answering("msg_too_long")(w, req)
			return
		}
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		server.Serve(w, req)
	})
	mustSend(t, bot(server), rolledBack(), notify.Attempt{})
	wantOne(t, server)
}

func TestSlackComesBack(t *testing.T) {
	server := start(t)
	for mode, s := range modes(server) {
		if err := server.Down(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Send(t.Context(), trouble(), notify.Attempt{})
		doing := map[string]string{"bot": "posting to Slack", "webhook": "posting to the webhook"}[mode]
		if err == nil || !strings.HasPrefix(err.Error(), doing+": dial tcp ") {
			t.Errorf("%s: got %v, want %s: dial tcp …", mode, err, doing)
		}
		if err := server.Up(); err != nil {
			t.Fatal(err)
		}
		mustSend(t, s, trouble(), notify.Attempt{})
	}
	if got := len(server.Messages()); got != 2 {
		t.Errorf("messages: got %d, want 2", got)
	}
}

func TestSlowSlackIsNotWaitedFor(t *testing.T) {
	server := start(t)
	release := make(chan struct{})
	defer close(release)
	server.Intercept(func(http.ResponseWriter, *http.Request) { <-release })
	impatient := func(o *slack.Options) { o.Timeout = 50 * time.Millisecond }
	for mode, s := range map[string]*slack.Sender{"bot": bot(server, impatient), "webhook": hook(server, impatient)} {
		if _, err := s.Send(t.Context(), trouble(), notify.Attempt{}); err == nil || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("%s: got %v, want no answer in time", mode, err)
		}
	}
}

func TestMessagesCarryTheirKey(t *testing.T) {
	server := start(t)
	mustSend(t, bot(server), rolledBack(), notify.Attempt{})
	got := wantOne(t, server)
	if got.Metadata.EventType != "rollback_agent_message" || got.Metadata.EventPayload["key"] != "deployment/17 on vm-17" {
		text, _ := json.Marshal(got.Metadata)
		t.Errorf("got metadata %s", text)
	}
}
