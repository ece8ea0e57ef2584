package slack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/slack-go/slack"

	"rollback-agent/agent/notify"
)

// eventType marks our messages; the payload says which one it is.
const (
	eventType   = "rollback_agent_message"
	partDetails = "details"
	partNotice  = "notice"
)

// ref is where a message is, and what of it people have seen.
type ref struct {
	To      string `json:"to"`      // the channel as the config named it
	Channel string `json:"channel"` // its ID
	TS      string `json:"ts"`      // the message; "": not posted yet
	Thread  string `json:"thread,omitempty"`
	Details string `json:"details,omitempty"` // sum of what the thread says
	Noticed string `json:"noticed,omitempty"` // version that people were last pinged for
}

// parseRef takes what is no reference to a message in this channel as none: what
// a webhook returned, or a channel that the config has left.
func parseRef(text, channel string) ref {
	var r ref
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.To != channel || r.Channel == "" {
		return ref{}
	}
	return r
}

func (r ref) String() string {
	text, err := json.Marshal(r)
	if err != nil || r.TS == "" {
		return ""
	}
	return string(text)
}

// metadata is what finds the message again. It is sent when the message is posted
// and stays as it is: the version is the one that people were pinged for. A key
// may be longer than Slack allows.
func metadata(m notify.Message, part string) slack.SlackMetadata {
	payload := map[string]any{"key": keyOf(m), "version": version(m)}
	if part != "" {
		payload["part"] = part
	}
	return slack.SlackMetadata{EventType: eventType, EventPayload: payload}
}

func keyOf(m notify.Message) string {
	if len(m.Key) <= 256 {
		return m.Key
	}
	return "sha256:" + sum(m.Key)
}

// isOurs tells whether the metadata is that of this message, of which of its
// parts, and for which version it was posted.
func isOurs(found slack.SlackMetadata, m notify.Message) (part, version string, ours bool) {
	text := func(key string) string { text, _ := found.EventPayload[key].(string); return text }
	return text("part"), text("version"), found.EventType == eventType && text("key") == keyOf(m)
}

// version tells what people were pinged for from what is new to them. More words
// on the same thing are not new.
func version(m notify.Message) string {
	return sum(fmt.Sprintf("%d\n%s\n%s\n%s", m.At.UnixNano(), m.Severity, m.Icon, m.Title))
}

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:8])
}
