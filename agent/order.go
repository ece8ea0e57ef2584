package agent

import "time"

// Order is what a human asks of the agent.
type Order struct {
	Verb       Verb   `json:"verb"`
	Service    string `json:"service,omitempty"`
	Deployment int64  `json:"deployment,omitempty"` // of cancel and keep
	Release    int64  `json:"release,omitempty"`    // of rollback; 0: the newest stable one before
	Force      bool   `json:"force,omitempty"`      // of deploy: although nothing differs
	// Images are, of deploy, references that take the place of the files', by
	// artifact; "" names the only one.
	Images       map[string]string `json:"images,omitempty"`
	NoOverride   bool              `json:"no_override,omitempty"`  // of deploy: the files' references count again
	Irreversible bool              `json:"irreversible,omitempty"` // of deploy: hold where others roll back
	For          time.Duration     `json:"for,omitempty"`          // of pause; 0: until resume
	Note         string            `json:"note,omitempty"`         // why, in the human's words
	Actor        string            `json:"actor"`                  // set by the server from the peer's credentials
}

// Verb is what an order wants done.
type Verb string

// The verbs of an order.
const (
	VerbDeploy   Verb = "deploy"
	VerbRollback Verb = "rollback"
	VerbRetry    Verb = "retry"  // lift the quarantine of what is wanted, and deploy it
	VerbCancel   Verb = "cancel" // a queued or fetching deployment
	VerbKeep     Verb = "keep"   // accept a held deployment
	VerbPause    Verb = "pause"
	VerbResume   Verb = "resume"
)

// Receipt is the answer to an order: what it began, or why there is nothing to do.
type Receipt struct {
	Deployment int64  `json:"deployment,omitempty"` // the one to follow; 0: none was begun
	Plan       Plan   `json:"plan"`
	Message    string `json:"message"` // one line for a human
	Hint       string `json:"hint,omitempty"`
}

// HistoryFilter chooses deployments, newest first.
type HistoryFilter struct {
	Service string // "": all
	Before  int64  // only older than this deployment; 0: from the newest
	Limit   int    // 0: no limit
}
