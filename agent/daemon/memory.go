package daemon

import (
	"context"
	"runtime/debug"
	"time"

	"rollback-agent/agent"
)

// quietInterval is how often the agent looks whether it is idle again.
const quietInterval = 10 * time.Second

// giveBack returns memory to the host once deployments are over: loading a model
// takes megabytes that nobody needs for the months in between.
func (d *Daemon) giveBack(ctx context.Context) error {
	ticker := time.NewTicker(quietInterval)
	defer ticker.Stop()
	var given uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		last, err := d.store.LastEvent()
		if err != nil || last == given || d.busy(ctx) {
			continue
		}
		debug.FreeOSMemory()
		given = last
	}
}

// busy tells whether a deployment is open.
func (d *Daemon) busy(ctx context.Context) bool {
	all, err := d.Status(ctx)
	for _, s := range all {
		if s.Plan.Reason == agent.ReasonBusy {
			return true
		}
	}
	return err != nil
}
