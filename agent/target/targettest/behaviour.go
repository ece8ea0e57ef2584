package targettest

import (
	"time"

	"rollback-agent/agent"
)

// Behaviour is what an instance of the [Fake] does once it runs.
// The zero value runs for ever and has no health check.
type Behaviour struct {
	// Health is what the instance's own check comes to: "" or HealthNone has no
	// check, HealthStarting never decides.
	Health      agent.HealthState
	HealthAfter time.Duration // from the start until the check decides
	Budget      time.Duration // Instance.HealthBudget

	Irreversible bool // its image says that going back would not undo it

	Exits     bool          // it exits by itself
	ExitAfter time.Duration // from each start
	ExitCode  int
	OOM       bool
	Times     int  // how often it exits; 0 is always
	Restarts  bool // a restart policy starts it again, RestartDelay after each exit
}

// RestartDelay is how long the fake's restart policy waits.
const RestartDelay = 100 * time.Millisecond

// The behaviours that tests need most. Crash and OOM have a restart policy,
// Dies has none.
var (
	Bare       = Behaviour{}
	Healthy    = Behaviour{Health: agent.HealthHealthy, HealthAfter: 100 * time.Millisecond}
	Unhealthy  = Behaviour{Health: agent.HealthUnhealthy, HealthAfter: 500 * time.Millisecond}
	NeverReady = Behaviour{Health: agent.HealthStarting}
	Crash      = Behaviour{Exits: true, ExitAfter: 200 * time.Millisecond, ExitCode: 1, Restarts: true}
	CrashOnce  = Behaviour{Health: agent.HealthHealthy, HealthAfter: 100 * time.Millisecond, Exits: true, ExitAfter: 200 * time.Millisecond, ExitCode: 1, Times: 1, Restarts: true}
	Dies       = Behaviour{Exits: true, ExitAfter: 200 * time.Millisecond, ExitCode: 1}
	OOM        = Behaviour{Exits: true, ExitAfter: 200 * time.Millisecond, ExitCode: 137, OOM: true, Restarts: true}
	Completes  = Behaviour{Exits: true, ExitAfter: 50 * time.Millisecond}
)

// hasCheck tells whether the instance has a health check of its own.
func (b Behaviour) hasCheck() bool { return b.Health != "" && b.Health != agent.HealthNone }
