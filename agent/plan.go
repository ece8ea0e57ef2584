package agent

import "time"

// Change says that something may be wanted now that was not before. It carries
// no content: whoever receives it looks for itself.
type Change struct {
	Service string
	At      time.Time
	Cause   string // "files", "registry", "rescan", "start", "retry"
	Paths   []string
}

// Plan is what to do about what is wanted.
type Plan struct {
	Action PlanAction `json:"action"`
	Reason Reason     `json:"reason"`
	Detail string     `json:"detail"`         // one line for a human
	Until  time.Time  `json:"until,omitzero"` // when to plan again; zero: when something changes
}

// PlanAction is the verb of a plan.
type PlanAction string

// The verbs of a plan.
const (
	PlanDeploy PlanAction = "deploy"
	PlanAdopt  PlanAction = "adopt" // it serves already; take it over without touching it
	PlanSkip   PlanAction = "skip"
	PlanWait   PlanAction = "wait"
)

// Notice is something about the host as a whole that a human should know now: an
// alert that cannot be sent, a config that was not taken over.
type Notice struct {
	Subject string    `json:"subject"` // "slack", "config"
	Since   time.Time `json:"since,omitzero"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
}

// Status is one service on one screen.
type Status struct {
	Service    string              `json:"service"`
	Target     string              `json:"target"`
	State      string              `json:"state"` // of the open deployment, else "serving", "idle", "none", "invalid", "unknown"
	Release    int64               `json:"release"`
	Standing   Standing            `json:"standing,omitempty"`
	Artifacts  []Artifact          `json:"artifacts"`
	Since      time.Time           `json:"since,omitzero"`
	Healthy    string              `json:"health"`               // "healthy", "unhealthy", "starting", "unknown"
	Plan       Plan                `json:"plan"`                 // why what is wanted is, or is not, deployed
	Deployment int64               `json:"deployment,omitempty"` // the open one, else the last one
	Pause      *Pause              `json:"pause,omitempty"`
	Overrides  map[string]Override `json:"overrides,omitempty"`
	Error      string              `json:"error,omitempty"` // the service's own config or files
	Hint       string              `json:"hint,omitempty"`
	Warnings   []string            `json:"warnings,omitempty"`
	Quarantine []Quarantined       `json:"quarantine,omitempty"`
}
