package agent

// Reason is a stable, machine-readable name for why something is as it is.
// Texts for humans stand beside it, never in it.
type Reason string

// Why a plan is what it is.
const (
	ReasonFirst         Reason = "first"       // nothing of the service ever ran
	ReasonAdopt         Reason = "adopt"       // it already serves
	ReasonChanged       Reason = "changed"     // what is wanted differs from what was wanted
	ReasonRequested     Reason = "requested"   // a human asked
	ReasonForced        Reason = "forced"      // a human asked although nothing differs
	ReasonUnchanged     Reason = "unchanged"   // serving what is wanted
	ReasonQuarantined   Reason = "quarantined" // it was rolled back once
	ReasonPaused        Reason = "paused"
	ReasonDrift         Reason = "drift"  // what serves is not what the files describe, and was not when the agent came
	ReasonIdle          Reason = "idle"   // a human stopped it
	ReasonNotify        Reason = "notify" // mode = "notify": a human deploys
	ReasonDelayed       Reason = "delayed"
	ReasonInvalid       Reason = "invalid"        // the files cannot be loaded
	ReasonEarlierFailed Reason = "earlier_failed" // the same thing failed before anything changed; a retry is a human's
	ReasonBusy          Reason = "busy"           // a deployment is under way
)

// Why a deployment moved.
const (
	ReasonStarted    Reason = "started"
	ReasonFetched    Reason = "fetched"
	ReasonApplied    Reason = "applied"
	ReasonHealthy    Reason = "healthy"
	ReasonUnverified Reason = "unverified" // ran without an exit; no health signal proved more
	ReasonResumed    Reason = "resumed"

	ReasonUnresolvable     Reason = "unresolvable" // an image reference has no digest
	ReasonFetchFailed      Reason = "fetch_failed"
	ReasonFetchDeadline    Reason = "fetch_deadline"
	ReasonPreflight        Reason = "preflight" // must be done by hand; nothing was touched
	ReasonApplyFailed      Reason = "apply_failed"
	ReasonProgressDeadline Reason = "progress_deadline"
	ReasonHealthDeadline   Reason = "health_deadline"
	ReasonUnhealthy        Reason = "unhealthy"
	ReasonCrash            Reason = "crash"
	ReasonOOM              Reason = "oom"
	ReasonUnreachable      Reason = "unreachable" // the engine or API did not answer

	ReasonNewer            Reason = "newer"     // something newer is wanted
	ReasonForeign          Reason = "foreign"   // somebody else changed what serves
	ReasonStopped          Reason = "stopped"   // somebody stopped it
	ReasonCancelled        Reason = "cancelled" // by a human
	ReasonAborted          Reason = "aborted"   // a human rolled back an open deployment
	ReasonConfig           Reason = "config"    // the service's own config changed
	ReasonKept             Reason = "kept"      // by a human
	ReasonHoldExpired      Reason = "hold_expired"
	ReasonOnFailure        Reason = "on_failure"     // the config says that a failure does not roll back
	ReasonNoTarget         Reason = "no_target"      // no stable release to go back to
	ReasonSourceMissing    Reason = "source_missing" // the old release cannot be had; nothing was torn down
	ReasonRollbackFailed   Reason = "rollback_failed"
	ReasonRollbackDisabled Reason = "rollback_disabled" // by the hidden test variable
	ReasonPanic            Reason = "panic"
	ReasonBeforeDeploy     Reason = "before_deploy" // the command before the deployment failed
	ReasonIrreversible     Reason = "irreversible"  // a human, or the release, says that going back would not undo it
	ReasonNoSpace          Reason = "no_space"      // the disk has no room for what would be fetched
	ReasonStorm            Reason = "storm"         // too many rollbacks within an hour
	ReasonDown             Reason = "down"          // the agent did not run, and nothing was watched
	ReasonUnanswered       Reason = "unanswered"    // a registry cannot be asked, or refuses to answer
	ReasonLost             Reason = "lost"          // the history was damaged; the quarantine is lost
)
