package agent

import "time"

// Outcome is the result of one look at a gate or a signal.
type Outcome string

// The outcomes. Zero samples are never a pass.
const (
	OutcomePass         Outcome = "pass"
	OutcomeFail         Outcome = "fail"
	OutcomeInsufficient Outcome = "insufficient" // not yet
	OutcomeNoData       Outcome = "no_data"
	OutcomeError        Outcome = "error"
)

// Verdict is what the judge says, with its evidence.
type Verdict struct {
	At         time.Time `json:"at"`
	Gate       string    `json:"gate"` // containers, healthcheck, http, tcp, command, crash, deadline
	Outcome    Outcome   `json:"outcome"`
	Reason     Reason    `json:"reason"`
	Action     Action    `json:"action,omitempty"`
	Evidence   string    `json:"evidence"`             // one line for a human
	Unverified bool      `json:"unverified,omitempty"` // passed without any health signal
}

// Sample is one answer of a probe.
type Sample struct {
	At     time.Time     `json:"at"`
	Gate   string        `json:"gate"` // http, tcp or command
	Passed bool          `json:"passed"`
	Detail string        `json:"detail"` // "200 OK in 3 ms", "connection refused"
	Took   time.Duration `json:"took"`
}
