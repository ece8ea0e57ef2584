package testbed_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"rollback-agent/agent/testbed"
)

func startSlack(t *testing.T) *testbed.Slack {
	t.Helper()
	server, err := testbed.StartSlack(testbed.SlackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// call asks a method and returns its error, "" for none, and its answer.
func call(t *testing.T, server *testbed.Slack, method string, args ...string) (string, map[string]any) {
	t.Helper()
	form := url.Values{"token": {server.Options().Token}, "channel": {testbed.SlackChannelID}}
	for i := 0; i < len(args); i += 2 {
		form.Set(args[i], args[i+1])
	}
	resp, err := http.PostForm(server.APIURL()+method, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: got status %d, %v", method, resp.StatusCode, err)
	}
	word, _ := answer["error"].(string)
	return word, answer
}

func hook(t *testing.T, url, payload string) string {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	word, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, word)
}

func block(format string, args ...any) string { return "[" + fmt.Sprintf(format, args...) + "]" }

func TestSlackRefusesWhatSlackRefuses(t *testing.T) {
	server := startSlack(t)
	header := `{"type":"header","text":{"type":"plain_text","text":%q}}`
	section := `{"type":"section","text":{"type":"mrkdwn","text":%q}}`
	field := `{"type":"mrkdwn","text":"x"},`
	for name, c := range map[string]struct{ blocks, want string }{
		"nothing":          {"", ""},
		"long header":      {block(header, strings.Repeat("x", 150)), ""},
		"longer header":    {block(header, strings.Repeat("x", 151)), "invalid_blocks"},
		"emoji header":     {block(header, strings.Repeat("😀", 76)), "invalid_blocks"},
		"mrkdwn header":    {`[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`, "invalid_blocks"},
		"long section":     {block(section, strings.Repeat("x", 3000)), ""},
		"longer section":   {block(section, strings.Repeat("x", 3001)), "invalid_blocks"},
		"empty section":    {block(section, ""), "invalid_blocks"},
		"blank section":    {block(section, " \n"), "invalid_blocks"},
		"bare section":     {`[{"type":"section"}]`, "invalid_blocks"},
		"10 fields":        {block(`{"type":"section","fields":[%s]}`, strings.TrimSuffix(strings.Repeat(field, 10), ",")), ""},
		"11 fields":        {block(`{"type":"section","fields":[%s]}`, strings.TrimSuffix(strings.Repeat(field, 11), ",")), "invalid_blocks"},
		"long field":       {block(`{"type":"section","fields":[{"type":"mrkdwn","text":%q}]}`, strings.Repeat("x", 2001)), "invalid_blocks"},
		"empty context":    {`[{"type":"context","elements":[]}]`, "invalid_blocks"},
		"11 elements":      {block(`{"type":"context","elements":[%s]}`, strings.TrimSuffix(strings.Repeat(field, 11), ",")), "invalid_blocks"},
		"50 blocks":        {"[" + strings.TrimSuffix(strings.Repeat(`{"type":"divider"},`, 50), ",") + "]", ""},
		"51 blocks":        {"[" + strings.TrimSuffix(strings.Repeat(`{"type":"divider"},`, 51), ",") + "]", "invalid_blocks"},
		"unknown type":     {`[{"type":"marquee"}]`, "invalid_blocks"},
		"emoji in mrkdwn":  {`[{"type":"section","text":{"type":"mrkdwn","text":"x","emoji":true}}]`, "invalid_blocks"},
		"one id twice":     {`[{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}]`, "invalid_blocks"},
		"no list":          {`{}`, "invalid_blocks_format"},
		"unknown property": {`[{"type":"divider","colour":"red"}]`, "invalid_blocks_format"},
		"much in all": {
			block("%s", strings.TrimSuffix(strings.Repeat(fmt.Sprintf(section, strings.Repeat("x", 3000))+",", 5), ",")),
			"msg_blocks_too_long",
		},
	} {
		if got, _ := call(t, server, "chat.postMessage", "text", "x", "blocks", c.blocks); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestSlackChecksTextsAndMetadata(t *testing.T) {
	server := startSlack(t)
	_, posted := call(t, server, "chat.postMessage", "text", "x")
	ts := posted["ts"].(string)
	for _, c := range []struct {
		method, key, value, want string
	}{
		{"chat.postMessage", "text", " ", "no_text"},
		{"chat.postMessage", "text", strings.Repeat("x", 40001), "msg_too_long"},
		{"chat.update", "text", strings.Repeat("x", 4001), "msg_too_long"},
		{"chat.postMessage", "metadata", `{"event_type":"a","event_payload":{"k":"v"}}`, ""},
		{"chat.postMessage", "metadata", `{"event_type":"a b","event_payload":{}}`, "invalid_metadata_schema"},
		{"chat.postMessage", "metadata", `{"event_type":"a"}`, "invalid_metadata_schema"},
		{"chat.postMessage", "metadata", `[]`, "invalid_metadata_format"},
		{"chat.postMessage", "metadata", `{"event_type":"a","event_payload":{"k":"` + strings.Repeat("v", 8000) + `"}}`, "metadata_too_large"},
		{"chat.postMessage", "thread_ts", "1.000000", "thread_not_found"},
		{"chat.postMessage", "channel", "deploys", ""},
		{"chat.update", "channel", "deploys", "channel_not_found"},
		{"conversations.history", "channel", "#deploys", "channel_not_found"},
		{"chat.update", "ts", "1.000000", "message_not_found"},
		{"chat.postMessage", "token", "xoxb-another", "invalid_auth"},
		{"chat.postMessage", "token", "", "not_authed"},
		{"chat.meMessage", "text", "x", "unknown_method"},
		{"conversations.history", "limit", "1000", "invalid_limit"},
	} {
		if got, _ := call(t, server, c.method, "text", "x", "ts", ts, c.key, c.value); got != c.want {
			t.Errorf("%s with %s=%.40q: got %q, want %q", c.method, c.key, c.value, got, c.want)
		}
	}
}

func TestSlackWebhookAnswersInWords(t *testing.T) {
	server := startSlack(t)
	ours := server.WebhookURL()
	base := strings.TrimSuffix(ours, server.Options().Secret)
	for _, c := range []struct{ url, payload, want string }{
		{ours, `{"text":"x"}`, "200 ok"},
		{ours, `{"text":""}`, "400 no_text"},
		{ours, `text`, "400 invalid_payload"},
		{ours, `{"blocks":[{"type":"marquee"}]}`, "400 invalid_blocks"},
		{base + "another", `{"text":"x"}`, "403 invalid_token"},
		{strings.Replace(ours, "/B0", "/B1", 1), `{"text":"x"}`, "404 no_service"},
	} {
		if got := hook(t, c.url, c.payload); got != c.want {
			t.Errorf("%s: got %q, want %q", c.payload, got, c.want)
		}
	}
	server.Change(func(o *testbed.SlackOptions) { o.Archived = true })
	if got := hook(t, ours, `{"text":"x"}`); got != "410 channel_is_archived" {
		t.Errorf("got %q, want 410", got)
	}
}

func TestSlackKeepsWhatWasSaid(t *testing.T) {
	server := startSlack(t)
	_, posted := call(t, server, "chat.postMessage", "text", "one &amp; all", "metadata", `{"event_type":"a","event_payload":{"k":"v"}}`)
	ts := posted["ts"].(string)
	call(t, server, "chat.postMessage", "text", "quiet", "thread_ts", ts)
	call(t, server, "chat.postMessage", "text", "loud", "thread_ts", ts, "reply_broadcast", "true")
	call(t, server, "chat.update", "ts", ts, "text", "two &lt; three")
	messages := server.Messages()
	if len(messages) != 1 || len(messages[0].Replies) != 2 || messages[0].Edits != 1 || messages[0].Metadata == nil {
		t.Fatalf("got %+v, want one edited message with two replies and its metadata", messages)
	}
	want := "(edited)\ntwo < three\n  ↳ quiet\n  ↳ (also sent to the channel)\n    loud\n"
	if got := messages[0].Render(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, history := call(t, server, "conversations.history", "limit", "1", "include_all_metadata", "1")
	first := history["messages"].([]any)[0].(map[string]any)
	if first["subtype"] != "thread_broadcast" || history["has_more"] != true {
		t.Errorf("got %v, want the newest reply that the channel shows", history)
	}
	cursor := history["response_metadata"].(map[string]any)["next_cursor"].(string)
	_, history = call(t, server, "conversations.history", "limit", "1", "include_all_metadata", "1", "cursor", cursor)
	if last := history["messages"].([]any)[0].(map[string]any); last["ts"] != ts || last["metadata"] == nil {
		t.Errorf("got %v, want the message with its metadata", history)
	}
	_, history = call(t, server, "conversations.history", "oldest", ts)
	if got := len(history["messages"].([]any)); got != 1 {
		t.Errorf("messages after %s: got %d, want 1", ts, got)
	}
}
