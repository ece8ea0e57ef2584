package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Phase is what an instance is doing.
type Phase string

// The phases of an instance. Only PhaseRunning serves.
const (
	PhaseCreated    Phase = "created"
	PhaseRunning    Phase = "running"
	PhaseRestarting Phase = "restarting"
	PhasePaused     Phase = "paused"
	PhaseExited     Phase = "exited"
)

// HealthState is what an instance's own health check says.
type HealthState string

// The states of an instance's own health check.
const (
	HealthNone      HealthState = "none" // the instance has no check
	HealthStarting  HealthState = "starting"
	HealthHealthy   HealthState = "healthy"
	HealthUnhealthy HealthState = "unhealthy"
)

// Instance is one container, pod or published version, as the outside world
// shows it.
type Instance struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Artifact string   `json:"artifact"` // Artifact.Name
	Ref      string   `json:"ref"`      // what it says it runs
	Local    string   `json:"local"`    // identity of what it runs (an image ID)
	Digests  []string `json:"digests"`  // every digest that names what it runs
	Config   string   `json:"config"`

	Phase        Phase         `json:"phase"`
	Health       HealthState   `json:"health"`
	HealthBudget time.Duration `json:"health_budget"` // longest time the check may need to prove health
	HealthOutput string        `json:"health_output,omitempty"`
	Restarts     int           `json:"restarts"`     // by the engine's restart policy, since it was created
	WillRestart  bool          `json:"will_restart"` // a restart policy stands behind it
	ExitCode     int           `json:"exit_code"`
	OOMKilled    bool          `json:"oom_killed"`
	CreatedAt    time.Time     `json:"created_at"`
	StartedAt    time.Time     `json:"started_at"`
	FinishedAt   time.Time     `json:"finished_at"`
}

// Running reports what serves now, from the outside world, never from memory.
type Running struct {
	Instances []Instance `json:"instances"`
	// Residue names leftovers of an interrupted Apply; they serve nothing.
	Residue []string `json:"residue,omitempty"`
}

// Runs tells whether the instance runs the artifact: the same content and the
// same config. Digests are compared by membership.
func (i Instance) Runs(a Artifact) bool {
	if i.Artifact != a.Name || i.Config != a.Config {
		return false
	}
	if a.Local != "" && i.Local == a.Local {
		return true
	}
	return a.Digest != "" && (i.Local == a.Digest || slices.Contains(i.Digests, a.Digest))
}

// Serving says what serves, looked up at the end of a deployment.
type Serving string

// What can be serving.
const (
	ServingNew     Serving = "new"
	ServingOld     Serving = "old"
	ServingMixed   Serving = "mixed" // some instances new, some old
	ServingOther   Serving = "other" // neither: somebody else's doing
	ServingNone    Serving = "none"
	ServingUnknown Serving = "" // could not be looked up
)

// Identity is the same for two looks at the same instances running the same
// things, in whatever phase.
func (r Running) Identity() string {
	lines := make([]string, len(r.Instances))
	for n, i := range r.Instances {
		lines[n] = fmt.Sprintf("%q %q %q %q", i.ID, i.Artifact, i.Local, i.Config)
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// Serves compares what runs with two releases. Either may be nil.
// Stopped instances count for what they are, but do not make a release serve.
func (r Running) Serves(to, from *Release) Serving {
	if len(r.Instances) == 0 {
		return ServingNone
	}
	isNew, isOld := allRun(r.Instances, to), allRun(r.Instances, from)
	switch {
	case !slices.ContainsFunc(r.Instances, Instance.serves):
		return ServingNone
	case isNew && r.complete(to):
		return ServingNew
	case isOld && r.complete(from):
		return ServingOld
	case eachRunsEither(r.Instances, to, from):
		return ServingMixed
	}
	return ServingOther
}

func (i Instance) serves() bool {
	return i.Phase == PhaseRunning || i.Phase == PhaseRestarting || i.Phase == PhasePaused
}

func allRun(instances []Instance, rel *Release) bool {
	return !slices.ContainsFunc(instances, func(i Instance) bool { return !rel.runs(i) })
}

func eachRunsEither(instances []Instance, to, from *Release) bool {
	return !slices.ContainsFunc(instances, func(i Instance) bool { return !to.runs(i) && !from.runs(i) })
}

func (r *Release) runs(i Instance) bool {
	return r != nil && slices.ContainsFunc(r.Artifacts, i.Runs)
}

// complete tells whether every artifact has as many instances as the model asks.
func (r Running) complete(rel *Release) bool {
	for _, a := range rel.Artifacts {
		n := 0
		for _, i := range r.Instances {
			if i.Runs(a) && (a.OneShot || i.serves()) {
				n++
			}
		}
		if n < a.Count {
			return false
		}
	}
	return true
}
