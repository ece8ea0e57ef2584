package testbed

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// serveHook is the incoming webhook. It answers in plain text: "ok", or a word
// for what is wrong.
func (s *Slack) serveHook(w http.ResponseWriter, req *http.Request) {
	status, word := s.post(req)
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	io.WriteString(w, word)
}

func (s *Slack) post(req *http.Request) (int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret, ours := strings.CutPrefix(req.URL.Path, s.hookPath())
	switch {
	case req.Method != http.MethodPost:
		return http.StatusBadRequest, "invalid_payload"
	case !ours:
		return http.StatusNotFound, "no_service"
	case secret != s.opts.Secret:
		return http.StatusForbidden, "invalid_token"
	case s.opts.Archived:
		return http.StatusGone, "channel_is_archived"
	}
	message, fault := readHook(req)
	if fault != nil {
		return http.StatusBadRequest, fault.code
	}
	message.Webhook = true
	s.add(message)
	return http.StatusOK, "ok"
}

func readHook(req *http.Request) (SlackMessage, *slackFault) {
	var payload struct {
		Text   string          `json:"text"`
		Blocks json.RawMessage `json:"blocks"`
	}
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return SlackMessage{}, &slackFault{"invalid_payload", "want JSON"}
	}
	if err := json.NewDecoder(req.Body).Decode(&payload); err != nil {
		return SlackMessage{}, &slackFault{"invalid_payload", err.Error()}
	}
	blocks, fault := parseBlocks(payload.Blocks)
	if fault != nil {
		return SlackMessage{}, &slackFault{"invalid_blocks", fault.detail}
	}
	if fault := checkText(payload.Text, blocks, slackText); fault != nil {
		return SlackMessage{}, fault
	}
	return SlackMessage{Text: payload.Text, Blocks: blocks, raw: payload.Blocks}, nil
}
