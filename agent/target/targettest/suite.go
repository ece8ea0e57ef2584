package targettest

import (
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target"
)

// Version is a version of the service that a harness can make its files want.
type Version struct {
	// Content tells versions apart; the same content is the same digest.
	Content string
	// Fate is what becomes of it once it runs.
	Fate Fate
	// Config is a setting in the files; another one is an edit.
	Config string
}

// Fate is what becomes of a version once it runs.
type Fate string

// The fates that every kind of target can bring about.
const (
	Good     Fate = "good"
	Crashing Fate = "crashing" // exits with an error, again and again or once
	Sick     Fate = "sick"     // runs, and its own check says so: unhealthy
)

// Harness drives one kind of target for the suite: one service, of which nothing
// runs at first, with one artifact, in the same reference for every version.
type Harness interface {
	Target() target.Target
	Service() agent.Service
	// Want publishes a version at its source, under the service's one reference,
	// and makes the files ask for it.
	Want(t testing.TB, v Version)
	// Break makes the files unloadable.
	Break(t testing.TB)
	// Resolve asks the source which digest an artifact's reference names now.
	Resolve(t testing.TB, a agent.Artifact) string
	// Withdraw makes the source unreachable or empty; what was fetched stays.
	Withdraw(t testing.TB)
	// Forget removes what was fetched from the host, as far as it is not in use.
	Forget(t testing.TB, a agent.Artifact)
	// Here tells whether an artifact is on the host.
	Here(t testing.TB, a agent.Artifact) bool
	// Stop stops the service as a human does.
	Stop(t testing.TB)
	// Patience is how long the suite waits for an effect.
	Patience() time.Duration
}

// Check is one clause of the contract.
type Check struct {
	Name string
	Run  func(t testing.TB, h Harness)
}

// Run holds a kind of target to the contract.
func Run(t *testing.T, newHarness func(t testing.TB) Harness) {
	for _, check := range Checks() {
		t.Run(check.Name, func(t *testing.T) { check.Run(t, newHarness(t)) })
	}
}

// Checks returns every clause of the contract. Each needs a harness of its own.
func Checks() []Check {
	return []Check{
		{"DesiredDescribesWhatTheFilesAskFor", desiredDescribes},
		{"DesiredIsStable", desiredIsStable},
		{"DesiredSeesAnEdit", desiredSeesAnEdit},
		{"DesiredNamesFilesOfBrokenOnes", desiredNamesFiles},
		{"DesiredPutsOverridesInPlace", desiredOverrides},
		{"DesiredRefusesStrangeOverrides", desiredRefusesOverrides},
		{"RunningNothing", runningNothing},
		{"RunningSurvivesBrokenFiles", runningSurvivesBrokenFiles},
		{"FetchChangesNothingThatServes", fetchChangesNothing},
		{"FetchIsANoOpWhenPresent", fetchIsANoOp},
		{"FetchTellsAMissingSource", fetchTellsMissing},
		{"ApplyServes", applyServes},
		{"ApplyTwiceChangesNothing", applyTwice},
		{"ApplyNeedsAFetch", applyNeedsAFetch},
		{"ApplyWorksFromTheSnapshot", applyWorksFromTheSnapshot},
		{"ApplyEditRecreates", applyEdit},
		{"ApplyAfterAnInterruption", applyAfterInterruption},
		{"RollbackRestores", rollbackRestores},
		{"RollbackOfAnEditRestores", rollbackOfAnEdit},
		{"RollbackWorksOffline", rollbackOffline},
		{"ObserveBeginsWithASnapshot", observeBegins},
		{"ObserveTellsNewInstances", observeTellsNew},
		{"ObserveTellsEveryExit", observeTellsExits},
		{"ObserveTellsHealth", observeTellsHealth},
		{"ObserveTellsStopsApart", observeTellsStops},
		{"ObserveEndsWithItsContext", observeEnds},
		{"StoppedServesNone", stoppedServesNone},
		{"DiagnoseNamesTheExit", diagnoseNamesExit},
		{"RetainKeepsWhatIsKept", retainKeeps},
		{"RetainLetsGoOfOthers", retainLetsGo},
		{"RetainNeverBreaksWhatServes", retainSpares},
		{"LocalKnowsWhatIsHere", localKnows},
		{"SnapshotOfAnotherKindIsRefused", strangeSnapshot},
		{"CallsEndWithTheirContext", callsEnd},
	}
}
