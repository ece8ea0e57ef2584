package testbed

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// history is newest first, without replies that only their thread shows.
func (s *Slack) history(args map[string]string) (answer, *slackFault) {
	if fault := s.reach(args["channel"], false); fault != nil && fault.code != "is_archived" {
		return nil, fault
	}
	var all []answer
	for _, m := range slices.Backward(s.messages) {
		if m.ThreadTS != "" && !m.Broadcast {
			continue
		}
		if within(m.TS, args) {
			all = append(all, s.show(*m, truth(args["include_all_metadata"])))
		}
	}
	return paged(all, args)
}

// thread is the message and its replies, oldest first.
func (s *Slack) thread(args map[string]string) (answer, *slackFault) {
	if fault := s.reach(args["channel"], false); fault != nil && fault.code != "is_archived" {
		return nil, fault
	}
	parent := s.find(args["ts"])
	if parent == nil {
		return nil, &slackFault{"thread_not_found", args["ts"]}
	}
	all := []answer{s.show(*parent, truth(args["include_all_metadata"]))}
	for _, reply := range s.replies(parent.TS) {
		if within(reply.TS, args) {
			all = append(all, s.show(reply, truth(args["include_all_metadata"])))
		}
	}
	return paged(all, args)
}

// within tells whether a message is after oldest and before latest.
func within(ts string, args map[string]string) bool {
	at, _ := strconv.ParseFloat(ts, 64)
	oldest, err := strconv.ParseFloat(args["oldest"], 64)
	if err == nil && (at < oldest || at == oldest && !truth(args["inclusive"])) {
		return false
	}
	latest, err := strconv.ParseFloat(args["latest"], 64)
	return err != nil || at < latest || at == latest && truth(args["inclusive"])
}

// paged gives one page of messages. The cursor is opaque to those who ask.
func paged(all []answer, args map[string]string) (answer, *slackFault) {
	limit, err := strconv.Atoi(args["limit"])
	if err != nil {
		limit = 100
	}
	if limit < 1 || limit > 999 {
		return nil, &slackFault{"invalid_limit", args["limit"]}
	}
	from := 0
	if cursor := args["cursor"]; cursor != "" {
		if from, err = strconv.Atoi(cursor); err != nil || from > len(all) {
			return nil, &slackFault{"invalid_cursor", cursor}
		}
	}
	to, next := min(from+limit, len(all)), ""
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return answer{
		"messages": append([]answer{}, all[from:to]...), "has_more": next != "",
		"response_metadata": answer{"next_cursor": next},
	}, nil
}

func (s *Slack) info(args map[string]string) (answer, *slackFault) {
	if args["channel"] != SlackChannelID {
		return nil, &slackFault{"channel_not_found", args["channel"]}
	}
	return answer{"channel": s.channel()}, nil
}

func (s *Slack) memberships(args map[string]string) (answer, *slackFault) {
	public := args["types"] == "" || strings.Contains(args["types"], "public_channel")
	if strings.Contains(args["types"], "private_channel") && !slices.Contains(s.opts.Scopes, "groups:read") {
		return nil, &slackFault{"missing_scope", "groups:read"}
	}
	channels := []answer{{"id": "C0TESTBED00", "name": "general", "is_channel": true, "is_member": true}}
	if public && !s.opts.Outside {
		channels = append(channels, s.channel())
	}
	return answer{"channels": channels, "response_metadata": answer{"next_cursor": ""}}, nil
}

func (s *Slack) channel() answer {
	return answer{
		"id": SlackChannelID, "name": s.opts.Channel, "is_channel": true,
		"is_member": !s.opts.Outside, "is_archived": s.opts.Archived,
	}
}

// show is a message as the Web API gives it back.
func (s *Slack) show(m SlackMessage, metadata bool) answer {
	shown := answer{"type": "message", "ts": m.TS, "text": m.Text, "user": "U0TESTBED", "bot_id": slackHookID}
	if len(m.raw) > 0 {
		shown["blocks"] = json.RawMessage(m.raw)
	}
	if m.ThreadTS != "" {
		shown["thread_ts"] = m.ThreadTS
	}
	if m.Broadcast {
		shown["subtype"] = "thread_broadcast"
	}
	if replies := len(s.replies(m.TS)); replies > 0 {
		shown["thread_ts"], shown["reply_count"] = m.TS, replies
	}
	if metadata && m.Metadata != nil {
		shown["metadata"] = m.Metadata
	}
	return shown
}
