package agent

import (
	"slices"
	"time"
)

// DeploymentKind says why a deployment was made.
type DeploymentKind string

// The kinds of deployments. An automatic rollback is no kind: it is the end of
// the deployment that failed.
const (
	KindAdopt    DeploymentKind = "adopt"    // what already serves is taken over, nothing changes
	KindDeploy   DeploymentKind = "deploy"   // what is wanted is made to serve
	KindRollback DeploymentKind = "rollback" // a human asked for an older release
)

// State is where a deployment is.
type State string

// The states of a deployment.
const (
	StateQueued         State = "queued"
	StateFetching       State = "fetching"
	StateApplying       State = "applying"
	StateVerifying      State = "verifying"
	StateWatching       State = "watching"
	StateHeld           State = "held"
	StateRollingBack    State = "rolling_back"
	StateSucceeded      State = "succeeded"
	StateRolledBack     State = "rolled_back"
	StateRollbackFailed State = "rollback_failed"
	StateFailed         State = "failed"
	StateSuperseded     State = "superseded"
	StateCancelled      State = "cancelled"
)

// transitions is the one table of legal moves. An end has none.
var transitions = map[State][]State{
	StateQueued:      {StateFetching, StateVerifying, StateSuperseded, StateCancelled, StateFailed},
	StateFetching:    {StateApplying, StateFailed, StateSuperseded, StateCancelled},
	StateApplying:    {StateVerifying, StateRollingBack, StateHeld, StateFailed, StateSuperseded, StateRollbackFailed},
	StateVerifying:   {StateApplying, StateWatching, StateRollingBack, StateHeld, StateFailed, StateSuperseded, StateRollbackFailed},
	StateWatching:    {StateSucceeded, StateRollingBack, StateHeld, StateFailed, StateSuperseded, StateRollbackFailed},
	StateHeld:        {StateSucceeded, StateRollingBack, StateSuperseded, StateFailed, StateRollbackFailed},
	StateRollingBack: {StateRolledBack, StateRollbackFailed, StateFailed, StateSuperseded},
	StateSucceeded:   nil, StateRolledBack: nil, StateRollbackFailed: nil,
	StateFailed: nil, StateSuperseded: nil, StateCancelled: nil,
}

// Transitions returns a copy of the table of legal moves.
func Transitions() map[State][]State {
	table := make(map[State][]State, len(transitions))
	for from, to := range transitions {
		table[from] = slices.Clone(to)
	}
	return table
}

// May tells whether a deployment may move from one state to another.
func (s State) May(next State) bool { return slices.Contains(transitions[s], next) }

// Ended tells whether a deployment in this state is over. An unknown state reads
// as over, and as no success.
func (s State) Ended() bool { return len(transitions[s]) == 0 }

// Deployment is one attempt to make something serve, numbered per host.
type Deployment struct {
	ID          int64          `json:"id"`
	Service     string         `json:"service"`
	Kind        DeploymentKind `json:"kind"`
	State       State          `json:"state"`
	Reason      Reason         `json:"reason"`
	Message     string         `json:"message,omitempty"` // one line for a human: why it is where it is
	Hint        string         `json:"hint,omitempty"`    // what a human may do
	Serving     Serving        `json:"serving"`
	From        int64          `json:"from_release"`
	To          int64          `json:"to_release"`
	Restored    int64          `json:"restored_release"` // the release made by an automatic rollback
	Artifacts   []Artifact     `json:"artifacts"`
	Fingerprint string         `json:"fingerprint"`
	Actor       string         `json:"actor"`
	Note        string         `json:"note,omitempty"`  // why, in the words of the human who ordered it
	Force       bool           `json:"force,omitempty"` // a human insists
	// Irreversible deployments are held where others are rolled back: a human or
	// the release itself says so.
	Irreversible bool      `json:"irreversible,omitempty"`
	Decision     *Decision `json:"decision,omitempty"` // what a human decided while it was open
	Before       string    `json:"before,omitempty"`   // identity of what ran before Apply
	StartedAt    time.Time `json:"started_at"`
	EndedAt      time.Time `json:"ended_at"`

	Deadlines Deadlines   `json:"deadlines"`
	Counters  Counters    `json:"counters"`
	Timeline  []Step      `json:"timeline"`
	Verdicts  []Verdict   `json:"verdicts"`
	Diagnoses []Diagnosis `json:"diagnoses"`
	Config    Service     `json:"config"` // a deployment ends under the config that began it
}

// Decision is a human's word on an open deployment: cancel, keep or rollback. It
// is recorded before it is answered, so that a crash does not forget it.
type Decision struct {
	At      time.Time `json:"at"`
	Verb    Verb      `json:"verb"`
	Actor   string    `json:"actor"`
	Release int64     `json:"release,omitempty"` // of rollback; 0: the newest stable one
	Note    string    `json:"note,omitempty"`    // why, in their own words
}

// Deadlines are absolute, so that a restart never extends them.
// A zero time is a deadline that has not begun.
type Deadlines struct {
	Fetch    time.Time `json:"fetch,omitzero"`
	Progress time.Time `json:"progress,omitzero"`
	Health   time.Time `json:"health,omitzero"`
	Watch    time.Time `json:"watch,omitzero"`
	Hold     time.Time `json:"hold,omitzero"`
	Rollback time.Time `json:"rollback,omitzero"`
}

// Counters survive a restart of the agent.
type Counters struct {
	Exits    map[string]int `json:"exits,omitempty"`     // unrequested exits by instance ID
	Baseline map[string]int `json:"baseline,omitempty"`  // restarts an instance already had when the deployment began to look
	FullLook bool           `json:"full_look,omitempty"` // the one full look after a restart was taken
	Resumed  int            `json:"resumed,omitempty"`
}

// Step is one line of a deployment's timeline.
type Step struct {
	At     time.Time `json:"at"`
	State  State     `json:"state"` // the state after the step
	Reason Reason    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
}

// Decided tells whether a human has given that order.
func (d Deployment) Decided(verb Verb) bool { return d.Decision != nil && d.Decision.Verb == verb }

// Failed tells whether the deployment ended in anything but success.
func (d Deployment) Failed() bool { return d.State.Ended() && d.State != StateSucceeded }

// Duration is how long the deployment took, or has taken until now.
func (d Deployment) Duration(now time.Time) time.Duration {
	if d.EndedAt.IsZero() {
		return now.Sub(d.StartedAt)
	}
	return d.EndedAt.Sub(d.StartedAt)
}
