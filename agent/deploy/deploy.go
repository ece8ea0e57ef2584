// Package deploy is the cycle: it makes what is wanted serve, proves it, and
// puts the last good release back when it is not.
//
// Its one promise: intent is recorded before anything is touched, so that a
// process that dies at any point leaves a truth to finish or undo. It knows no
// kind of target, no store and no notifier, only the interfaces below.
//
// Start reading in cycle.go.
package deploy

import (
	"context"
	"log/slog"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/target"
)

// Recorder is the memory of the cycle. Record writes all of an entry or nothing,
// durably, before it returns.
type Recorder interface {
	Record(entry agent.Entry) (agent.Entry, error)
	Service(name string) (agent.ServiceRecord, error)
	Release(service string, number int64) (agent.Release, error)
	Releases(service string) ([]agent.Release, error) // newest first, without snapshots
	Quarantine(service string) ([]agent.Quarantined, error)
	Deployments(filter agent.HistoryFilter) ([]agent.Deployment, error)
	// Prune forgets deployments beyond the newest ones, and the snapshots of
	// releases that are not kept.
	Prune(service string, keepDeployments int, keepReleases []int64) error
}

// Resolver turns an image reference into the digest that its registry has for it.
// An answer that was given before asOf does not count, where the registry can be
// asked again at all.
type Resolver interface {
	Resolve(ctx context.Context, ref string, asOf time.Time) (string, error)
}

// Probe reports the answers of the service's own probes until ctx ends.
type Probe func(ctx context.Context, svc agent.Service, report func(agent.Sample))

// Options are what a worker works with.
type Options struct {
	Target   target.Target
	Resolver Resolver
	Recorder Recorder
	Probe    Probe
	// Before runs the service's before_deploy command; nil runs nothing.
	Before func(ctx context.Context, svc agent.Service) error
	// Check says what is wrong with the service's files now, and with the others that
	// decide what it is: who may write them, above all. nil checks nothing.
	Check func(svc agent.Service, sources []string) error
	// Watch is told which files and image references count, whenever they were
	// looked at. It answers whether some files are new to it, so that they have to be
	// looked at once more.
	Watch  func(service string, files, refs []string) (added bool)
	Limits *Limits
	Log    *slog.Logger
	// KeepHistory is how many deployments of a service are remembered; 0 is all.
	KeepHistory int
	// DisableRollback lets a failed deployment end where it is. Only a test that
	// proves other tests sets it.
	DisableRollback bool
}

// Limits bound what happens at once on the host. Rollbacks never queue.
type Limits struct{ fetches, applies chan struct{} }

// NewLimits allows that many fetches, and that many applies, at a time.
func NewLimits(fetches, applies int) *Limits {
	return &Limits{make(chan struct{}, fetches), make(chan struct{}, applies)}
}
