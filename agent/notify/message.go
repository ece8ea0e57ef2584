package notify

import (
	"context"
	"fmt"
	"time"

	"rollback-agent/agent"
)

// Message is what people are told, without the looks of any medium. All of its
// texts are redacted and plain: whoever renders them escapes them.
type Message struct {
	Key      string // the same for every version of the message; unique over hosts
	Host     string
	Service  string // "" for what is about the host
	Severity agent.Severity
	Icon     Icon
	Title    string // "shop on vm-17: rolled back (crash), r2 serves again"
	Open     bool   // more will follow: the deployment goes on
	Loud     bool   // this version changes what people have to do: it must be noticed, not only be readable
	Facts    []Fact
	Why      string   // a sentence or two
	Evidence []string // what was seen, one line each
	Logs     []Tail
	Timeline []string // one line each
	Hint     string
	Commands []string // to look closer, ready to paste
	At       time.Time
}

// Fact is one short line of a message: "From", "r7 (web:1.4 3f2a9c…)".
type Fact struct{ Name, Value string }

// Tail is the end of an instance's log.
type Tail struct {
	Instance string
	Lines    []string // oldest first
}

// Icon says at a glance how a message is meant.
type Icon string

// The icons.
const (
	IconProgress Icon = "progress"
	IconGood     Icon = "good"
	IconBack     Icon = "back" // something was put back
	IconAsk      Icon = "ask"  // a human decides
	IconBad      Icon = "bad"
	IconInfo     Icon = "info"
)

// Attempt is what is known of a message from earlier tries.
type Attempt struct {
	// Ref is what the last successful Send returned; "" before the first.
	Ref string
	// Unsure says that an earlier try ended without an answer: what it sent may have
	// arrived, all of it or, where there is a Ref, what belongs to the message.
	Unsure bool
}

// Sender brings messages to people.
type Sender interface {
	// Send posts a message, or brings the one that it posted before up to date. It
	// returns the reference that the next version of the message needs; one that comes
	// with an error is to be kept, too. It honours ctx. Any error but a [RefusedError] and a [BusyError] is worth a repetition.
	Send(ctx context.Context, m Message, earlier Attempt) (ref string, err error)
	// Updates tells whether a message can be brought up to date after it was sent.
	Updates() bool
}

// BusyError says that the medium wants to be left alone for a while.
type BusyError struct{ After time.Duration }

func (e *BusyError) Error() string { return fmt.Sprintf("asked to wait for %s", e.After) }

// RefusedError says that a repetition would be refused again.
type RefusedError struct {
	Reason string // the medium's own word: "invalid_blocks", "channel_not_found"
	// Account tells that not the message is at fault but the login or the channel:
	// every other message would be refused, too, until somebody mends it.
	Account bool
	Hint    string
}

func (e *RefusedError) Error() string { return "refused: " + e.Reason }
