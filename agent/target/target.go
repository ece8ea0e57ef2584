// Package target declares what every kind of target must do: make the releases
// of one service serve.
//
// Its one promise: the meaning of [Target] is settled by the contract suite in
// package targettest, which every kind passes, in process and through a plugin.
package target

import (
	"context"

	"rollback-agent/agent"
)

// Kind says what a kind of target can do.
type Kind struct {
	Name     string
	Splits   bool // Apply honours shares below 100
	Measures bool
	Scales   bool
}

// Target makes releases of one service serve. Every method is idempotent and
// may be repeated after a crash; every method honours ctx. Only Apply changes
// what serves. A Target is safe for concurrent use by different services.
//
// Errors: [agent.ErrUnreachable] where the world could not be asked (the caller
// retries and judges nothing), [agent.Permanent] where a repetition is useless,
// [agent.ErrPreflight] from an Apply that touched nothing,
// [agent.ErrSourceMissing] from a Fetch whose source is gone.
type Target interface {
	// Describe says what this kind can do.
	Describe(ctx context.Context) (Kind, error)

	// Check reports faults of the service's own config, offline.
	Check(ctx context.Context, svc agent.Service) ([]agent.Fault, error)

	// Desired loads what the files ask for: artifacts as references, config,
	// snapshot, files to watch. On an error the returned Wanted still has the
	// Files that are known to count, so that mending one is noticed.
	Desired(ctx context.Context, svc agent.Service) (agent.Wanted, error)

	// Running reports what serves now, from the outside world, never from memory.
	// Stopped instances are in it, too.
	Running(ctx context.Context, svc agent.Service) (agent.Running, error)

	// Local resolves an artifact without a registry: its digest as known on this
	// host, when what Ref names is here already. ok is false when it is not.
	Local(ctx context.Context, svc agent.Service, artifact agent.Artifact) (digest string, ok bool, err error)

	// Fetch brings everything a release needs and verifies that it arrived. It is
	// a no-op, offline too, when everything is here. What it learns is in the
	// returned release (Artifact.Local and .Config), to be recorded before Apply.
	// progress may be nil.
	Fetch(ctx context.Context, svc agent.Service, rel agent.Release, progress func(agent.Progress)) (agent.Release, error)

	// Apply makes the release serve that share of the traffic (0 < share ≤ 100).
	// An instance that already runs what the release describes is left alone.
	Apply(ctx context.Context, svc agent.Service, rel agent.Release, share int) error

	// Observe blocks until ctx ends: first a full snapshot of the instances (again
	// after every reconnect), then facts as they happen. It reconnects by itself
	// and reports [agent.ObservedLost] while it cannot see. report is never called
	// concurrently and never after Observe returned.
	Observe(ctx context.Context, svc agent.Service, report func(agent.Observation)) error

	// Diagnose captures what a human needs to understand a failure: exit codes,
	// OOM flags, last health output, last log lines. It changes nothing.
	Diagnose(ctx context.Context, svc agent.Service) ([]agent.Diagnosis, error)

	// Exec runs argv inside an instance of the named artifact and returns its
	// combined output, at most 4 KiB, and its exit code.
	Exec(ctx context.Context, svc agent.Service, artifact string, argv []string) (output string, code int, err error)

	// Retain keeps these releases restorable and may delete others that the agent
	// itself made. An empty keep lets go of the service.
	Retain(ctx context.Context, svc agent.Service, keep []agent.Release) error
}
