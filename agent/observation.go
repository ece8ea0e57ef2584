package agent

import "time"

// Observation is a fact that a target reports about the instances of a service.
type Observation struct {
	At   time.Time
	Kind ObservationKind
	// Instances is the whole picture when Kind is ObservedSnapshot.
	Instances []Instance
	// Instance is the one that the fact is about, as it is after the fact;
	// for every other kind.
	Instance Instance
	// Detail is a short human text: a signal, a health output, why facts were lost.
	Detail string
}

// ObservationKind says what happened.
type ObservationKind string

// The kinds of observations.
const (
	// ObservedSnapshot comes first, again after every reconnect, and whenever
	// instances come or go.
	ObservedSnapshot ObservationKind = "snapshot"
	ObservedStarted  ObservationKind = "started"
	// ObservedExited is an exit that nobody asked for.
	ObservedExited ObservationKind = "exited"
	// ObservedStopped is an exit after a stop, kill or restart request, or an
	// engine shutdown. It does not count as a crash.
	ObservedStopped ObservationKind = "stopped"
	ObservedHealth  ObservationKind = "health"
	// ObservedLost says that facts are missing from here on, until the next
	// snapshot: nothing may be judged meanwhile.
	ObservedLost ObservationKind = "lost"
)

// Diagnosis is what a human needs to understand a failure, captured before
// anything is torn down.
type Diagnosis struct {
	Instance  string `json:"instance"`
	Artifact  string `json:"artifact"`
	Phase     Phase  `json:"phase"`
	ExitCode  int    `json:"exit_code"`
	OOMKilled bool   `json:"oom_killed"`
	Restarts  int    `json:"restarts"`
	// Health is "" in the records of agents that did not note it.
	Health       HealthState `json:"health,omitempty"`
	HealthOutput string      `json:"health_output,omitempty"`
	Log          []string    `json:"log,omitempty"` // the last lines, oldest first
}

// Progress is how far a Fetch is.
type Progress struct {
	Artifact string `json:"artifact"`
	Done     int64  `json:"done"`  // bytes
	Total    int64  `json:"total"` // bytes; 0 while unknown
}
