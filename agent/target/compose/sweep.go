package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// An engine goes on working on the last request of a client that died. settleTime
// is how long two looks have to be equal, settleLimit how long that may take.
const (
	settleTime  = 700 * time.Millisecond
	settleLimit = 20 * time.Second
	youth       = 3 * time.Second
)

var errUnsettled = errors.New("the engine goes on changing the containers")

// sweep clears what an interrupted Up left behind, so that the next one does not
// trip over it: containers that still have the name of a replacement. In the
// usual case there are none, and it does nothing at all.
func (a *applying) sweep(ctx context.Context, list []container.Summary) ([]container.Summary, error) {
	if !slices.ContainsFunc(list, isResidue) && !a.mayBeBusy(len(list)) {
		return list, nil
	}
	list, err := a.settle(ctx, list)
	if err != nil {
		return nil, err
	}
	living := map[string]container.Summary{}
	for _, c := range list {
		living[c.ID[:12]] = c
	}
	for _, c := range list {
		if !replaces(c) {
			continue
		}
		oldID, name, _ := strings.Cut(nameOf(c), "_")
		_, oldLives := living[oldID]
		a.log.Info("clearing the residue of an interrupted deployment", "service", a.svc.Name, "container", nameOf(c), "replaced_lives", oldLives)
		if oldLives {
			err = a.engine.remove(ctx, c.ID, false)
		} else {
			err = a.engine.rename(ctx, c.ID, name)
		}
		if errdefs.IsConflict(err) { // the name has another owner by now
			err = a.engine.remove(ctx, c.ID, false)
		}
		if err != nil {
			return nil, err
		}
	}
	return a.engine.containers(ctx, a.id)
}

// mayBeBusy tells whether the engine may still be at work for somebody who died:
// this process's own last Up was cut off, or the process is so young that its
// predecessor may have been killed in the middle of one.
func (a *applying) mayBeBusy(containers int) bool {
	return a.wasCut(a.project()) || containers > 0 && time.Since(a.born) < youth
}

// isResidue tells whether a container may be the work of an interrupted Up: the
// name of a replacement, or created and never started.
func isResidue(c container.Summary) bool { return replaces(c) || c.State == container.StateCreated }

// settle waits until two looks in a row are equal.
func (a *applying) settle(ctx context.Context, last []container.Summary) ([]container.Summary, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settleLimit, errUnsettled)
	defer cancel()
	for {
		timer := time.NewTimer(settleTime)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("waiting for the engine to settle: %w", context.Cause(ctx))
		case <-timer.C:
		}
		next, err := a.engine.containers(ctx, a.id)
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(last, next, func(x, y container.Summary) bool {
			return x.ID == y.ID && x.State == y.State && nameOf(x) == nameOf(y)
		}) {
			return next, nil
		}
		last = next
	}
}

// remove deletes a container. Its anonymous volumes may belong to another one by
// inheritance, so they stay unless the caller knows better.
func (e *engine) remove(ctx context.Context, containerID string, volumes bool) error {
	ctx, cancel := change(ctx)
	defer cancel()
	_, err := e.client.ContainerRemove(ctx, containerID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: volumes})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return e.wrap(ctx, err, "removing container %.12s", containerID)
}

func (e *engine) rename(ctx context.Context, containerID, name string) error {
	ctx, cancel := change(ctx)
	defer cancel()
	_, err := e.client.ContainerRename(ctx, containerID, client.ContainerRenameOptions{NewName: name})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return e.wrap(ctx, err, "renaming container %.12s to %s", containerID, name)
}
