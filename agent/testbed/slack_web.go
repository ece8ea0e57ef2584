package testbed

import (
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// answer is the JSON of a method.
type answer map[string]any

// method is one of the Web API: the scope that it needs, and what it does while
// s.mu is held.
type method struct {
	scope string
	do    func(s *Slack, args map[string]string) (answer, *slackFault)
}

func slackMethods() map[string]method {
	return map[string]method{
		"auth.test":             {"", (*Slack).authTest},
		"chat.postMessage":      {"chat:write", (*Slack).postMessage},
		"chat.update":           {"chat:write", (*Slack).update},
		"conversations.history": {"channels:history", (*Slack).history},
		"conversations.replies": {"channels:history", (*Slack).thread},
		"conversations.info":    {"channels:read", (*Slack).info},
		"users.conversations":   {"channels:read", (*Slack).memberships},
	}
}

// serveMethod answers with status 200, whether it went well or not, as Slack
// does.
func (s *Slack) serveMethod(w http.ResponseWriter, req *http.Request, name string) {
	args, err := arguments(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	var result answer
	switch m, known := slackMethods()[name]; {
	case err != nil:
		result = answer{"ok": false, "error": "invalid_form_data"}
	case !known:
		result = answer{"ok": false, "error": "unknown_method"}
	default:
		result = s.call(m, args)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-OAuth-Scopes", strings.Join(s.opts.Scopes, ","))
	json.NewEncoder(w).Encode(result)
}

// arguments reads a form or JSON, and the token from wherever it is.
func arguments(req *http.Request) (map[string]string, error) {
	args := map[string]string{}
	if token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
		args["token"] = token
	}
	if kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")); kind == "application/json" {
		var body map[string]json.RawMessage
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
			return nil, err
		}
		for key, raw := range body {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw)
			}
			args[key] = text
		}
		return args, nil
	}
	if err := req.ParseForm(); err != nil {
		return nil, err
	}
	for key := range req.Form {
		args[key] = req.Form.Get(key)
	}
	return args, nil
}

func (s *Slack) call(m method, args map[string]string) answer {
	switch {
	case args["token"] == "":
		return answer{"ok": false, "error": "not_authed"}
	case args["token"] != s.opts.Token:
		return answer{"ok": false, "error": "invalid_auth"}
	case m.scope != "" && !slices.Contains(s.opts.Scopes, m.scope):
		return answer{
			"ok": false, "error": "missing_scope",
			"needed": m.scope, "provided": strings.Join(s.opts.Scopes, ","),
		}
	}
	result, fault := m.do(s, args)
	if fault != nil {
		return answer{
			"ok": false, "error": fault.code,
			"response_metadata": answer{"messages": []string{"[ERROR] " + fault.detail}},
		}
	}
	maps.Copy(result, answer{"ok": true})
	return result
}

func (s *Slack) authTest(map[string]string) (answer, *slackFault) {
	return answer{
		"url": "https://acme.slack.com/", "team": slackTeamName, "team_id": slackTeamID,
		"user": slackBotName, "user_id": "U0TESTBED", "bot_id": slackHookID,
	}, nil
}

func (s *Slack) postMessage(args map[string]string) (answer, *slackFault) {
	named := strings.TrimPrefix(args["channel"], "#") == s.opts.Channel // only this method knows names
	if fault := s.reach(args["channel"], named); fault != nil {
		return nil, fault
	}
	message, fault := readMessage(args, slackText)
	if fault != nil {
		return nil, fault
	}
	if message.ThreadTS = args["thread_ts"]; message.ThreadTS != "" {
		if parent := s.find(message.ThreadTS); parent == nil || parent.ThreadTS != "" {
			return nil, &slackFault{"thread_not_found", message.ThreadTS}
		}
	}
	posted := s.add(message)
	return answer{"channel": SlackChannelID, "ts": posted.TS, "message": s.show(*posted, true)}, nil
}

func (s *Slack) update(args map[string]string) (answer, *slackFault) {
	if fault := s.reach(args["channel"], false); fault != nil {
		return nil, fault
	}
	message := s.find(args["ts"])
	switch {
	case message == nil:
		return nil, &slackFault{"message_not_found", args["ts"]}
	case message.Webhook:
		return nil, &slackFault{"cant_update_message", "posted by another app"}
	}
	with, fault := readMessage(args, slackEditedText)
	if fault != nil {
		return nil, fault
	}
	s.edit(message, with)
	return answer{"channel": SlackChannelID, "ts": message.TS, "text": message.Text, "message": s.show(*message, true)}, nil
}

// reach tells what stands between the bot and the channel.
func (s *Slack) reach(channel string, named bool) *slackFault {
	switch {
	case channel != SlackChannelID && !named:
		return &slackFault{"channel_not_found", channel}
	case s.opts.Outside:
		return &slackFault{"not_in_channel", channel}
	case s.opts.Archived:
		return &slackFault{"is_archived", channel}
	}
	return nil
}

func readMessage(args map[string]string, limit int) (SlackMessage, *slackFault) {
	blocks, fault := parseBlocks([]byte(args["blocks"]))
	if fault != nil {
		return SlackMessage{}, fault
	}
	metadata, fault := parseMetadata(args["metadata"])
	if fault != nil {
		return SlackMessage{}, fault
	}
	if fault := checkText(args["text"], blocks, limit); fault != nil {
		return SlackMessage{}, fault
	}
	return SlackMessage{
		Text: args["text"], Blocks: blocks, raw: []byte(args["blocks"]),
		Metadata: metadata, Broadcast: truth(args["reply_broadcast"]),
	}, nil
}

func truth(arg string) bool {
	is, err := strconv.ParseBool(arg)
	return err == nil && is
}
