package testbed

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// SlackMessage is a message of the channel as it is now.
type SlackMessage struct {
	TS        string          `json:"ts"`
	ThreadTS  string          `json:"thread_ts,omitempty"` // of the message that this one replies to
	Broadcast bool            `json:"broadcast,omitempty"` // a reply that the channel shows, too
	Webhook   bool            `json:"webhook,omitempty"`
	Edits     int             `json:"edits"`
	Text      string          `json:"text"`
	Blocks    []SlackBlock    `json:"blocks,omitempty"`
	Metadata  *SlackMetadata  `json:"metadata,omitempty"`
	Replies   []SlackMessage  `json:"replies,omitempty"`
	raw       json.RawMessage // blocks as they came
}

// SlackMetadata is what an app attached for itself.
type SlackMetadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

// SlackEvent is a message that was posted, or edited: Kind is "post", "reply" or
// "update".
type SlackEvent struct {
	At      time.Time    `json:"at"`
	Kind    string       `json:"kind"`
	Message SlackMessage `json:"message"`
	Shown   string       `json:"shown"` // as people see it
}

// Messages returns what the channel shows, oldest first: messages with their
// threads.
func (s *Slack) Messages() []SlackMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var top []SlackMessage
	for _, m := range s.messages {
		if m.ThreadTS == "" {
			message := *m
			message.Replies = s.replies(m.TS)
			top = append(top, message)
		}
	}
	return top
}

// replies are those of one message, oldest first.
func (s *Slack) replies(ts string) []SlackMessage {
	var replies []SlackMessage
	for _, m := range s.messages {
		if m.ThreadTS == ts {
			replies = append(replies, *m)
		}
	}
	return replies
}

func (s *Slack) find(ts string) *SlackMessage {
	at := slices.IndexFunc(s.messages, func(m *SlackMessage) bool { return m.TS == ts })
	if at < 0 {
		return nil
	}
	return s.messages[at]
}

// add gives the message its time stamp, unlike any other one.
func (s *Slack) add(m SlackMessage) *SlackMessage {
	s.last = max(s.last+1, time.Now().UnixMicro())
	m.TS = fmt.Sprintf("%d.%06d", s.last/1e6, s.last%1e6)
	s.messages = append(s.messages, &m)
	kind := "post"
	if m.ThreadTS != "" {
		kind = "reply"
	}
	s.tell(kind, m)
	return &m
}

// edit replaces what a message says. Metadata stays unless there is new.
func (s *Slack) edit(m *SlackMessage, with SlackMessage) {
	m.Text, m.Blocks, m.raw = with.Text, with.Blocks, with.raw
	if with.Metadata != nil {
		m.Metadata = with.Metadata
	}
	m.Broadcast = m.Broadcast || with.Broadcast
	m.Edits++
	s.tell("update", *m)
}

func (s *Slack) tell(kind string, m SlackMessage) {
	if s.opts.On != nil {
		s.opts.On(SlackEvent{At: time.Now(), Kind: kind, Message: m, Shown: m.Render()})
	}
}
