package agent

import "time"

// Delivery is one message on its way to people: about one deployment, or about
// one trouble. It is brought up to date, not sent again, where the medium can.
type Delivery struct {
	Key        string `json:"key"` // "deployment/17", "trouble/registry ghcr.io"
	Service    string `json:"service,omitempty"`
	Deployment int64  `json:"deployment,omitempty"`

	Event Event  `json:"event"` // the newest one that it has to tell
	Sent  uint64 `json:"sent"`  // number of the newest one that it told; 0: none

	Told      bool      `json:"told,omitempty"`      // of a trouble: people know of it, and not of its end
	Since     time.Time `json:"since"`               // of its first event
	SentAt    time.Time `json:"sent_at,omitzero"`    // when it was last brought to people
	Repeats   int       `json:"repeats,omitempty"`   // events like it since then
	Reminders int       `json:"reminders,omitempty"` // how often people were told that it goes on
	Ref       string    `json:"ref,omitempty"`       // the medium's own name for the message
	Tried     bool      `json:"tried,omitempty"`     // a try is under way, or was when the process ended
	Refused   string    `json:"refused,omitempty"`   // why it is set aside for good
	RefusedAt time.Time `json:"refused_at,omitzero"`
}

// Pending tells whether people do not know its newest event yet.
func (d Delivery) Pending() bool { return d.Sent < d.Event.Seq && d.Refused == "" }
