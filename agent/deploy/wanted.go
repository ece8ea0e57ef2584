package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
)

// wantedState is the last that was found wanted.
type wantedState struct {
	wanted      agent.Wanted
	invalid     error     // why it cannot be loaded
	invalidAt   time.Time // since when
	told        string    // the fault that was told already
	fingerprint string
	refs        []string // names whose digest may change; nil: not known
	running     agent.Running
	plan        agent.Plan
}

// lookAtWanted loads what the files ask for, gives every image its digest, and
// looks at what runs. An error is the world's, not the files': it is asked again.
// Digests that were learned before asOf do not count.
func (w *Worker) lookAtWanted(ctx context.Context, asOf time.Time, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 6*lookTimeout, errLook)
	defer cancel()
	var state wantedState
	var ended []string
	svc, served, overrides := w.overridden(), w.serving, w.record.Overrides
	err := w.during(ctx, func(ctx context.Context) error {
		var err error
		state.wanted, ended, err = w.desired(ctx, svc, overrides)
		if ctx.Err() != nil { // a look cut short is no news: an image without a digest would be
			return context.Cause(ctx)
		}
		if errors.Is(err, agent.ErrUnreachable) {
			return err
		}
		if state.invalid = err; err != nil {
			return nil
		}
		state.refs = references(state.wanted)
		w.resolveAll(ctx, &state.wanted, asOf, served)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		state.running, err = w.Target.Running(ctx, w.svc)
		return err
	}, check)
	if w.Watch != nil && len(state.wanted.Files) > 0 {
		if state.refs == nil { // they are not known now: those known last count
			state.refs = w.wanted.refs
		}
		if w.Watch(w.svc.Name, state.wanted.Files, state.refs) {
			w.dirty = true // one of them may have changed between the look and the watch
		}
	}
	if err != nil {
		return err
	}
	w.keepWanted(state)
	if state.invalid != nil || len(ended) == 0 {
		return nil
	}
	if err := w.dropOverrides(ctx, ended); err != nil {
		return err
	}
	return w.lookAtWanted(ctx, asOf, check)
}

// references are the names whose digest may change without the files changing.
func references(wanted agent.Wanted) []string {
	refs := []string{}
	for _, a := range wanted.Artifacts {
		if a.Digest == "" {
			refs = append(refs, a.Ref)
		}
	}
	return refs
}

// desired refuses files that the wrong people may write: write access to them is
// root. It names the overrides that the files have ended. An override of what they do
// not have any more is no reason not to load them; any other reason is: a file that is
// half-written must not end what a human wants.
func (w *Worker) desired(ctx context.Context, svc agent.Service, overrides map[string]agent.Override) (wanted agent.Wanted, ended []string, err error) {
	wanted, err = w.Target.Desired(ctx, svc)
	switch {
	case err == nil:
		ended = endedBy(wanted.Artifacts, overrides, func(a agent.Artifact) string { return a.FileRef })
	case len(overrides) > 0 && !errors.Is(err, agent.ErrUnreachable):
		plain := svc
		plain.Overrides = nil
		files, plainErr := w.Target.Desired(ctx, plain)
		if plainErr == nil {
			ended = endedBy(files.Artifacts, overrides, func(a agent.Artifact) string { return a.Ref })
		}
		if len(ended) > 0 {
			wanted, err = files, nil
		}
	}
	if err != nil || w.Check == nil {
		return wanted, ended, err
	}
	return wanted, ended, w.Check(w.svc, wanted.Sources)
}

func (w *Worker) keepWanted(state wantedState) {
	state.told, state.invalidAt, state.plan = w.wanted.told, w.wanted.invalidAt, w.wanted.plan
	if state.invalid != nil {
		if w.wanted.invalid == nil {
			state.invalidAt = time.Now()
		}
		state.fingerprint, state.refs = w.wanted.fingerprint, w.wanted.refs
		secrets := slices.Concat(state.wanted.Secrets, w.wanted.wanted.Secrets) // faults quote the files
		slices.Sort(secrets)
		state.wanted.Secrets = slices.Compact(secrets)
		w.wanted = state
		return
	}
	state.fingerprint = state.wanted.Fingerprint()
	w.wanted = state
}

// resolveAll gives a digest to every artifact that can have one now. What cannot
// is resolved again, with patience and a clear error, by the deployment.
func (w *Worker) resolveAll(ctx context.Context, wanted *agent.Wanted, asOf time.Time, served *agent.Release) {
	for i, a := range wanted.Artifacts {
		if a.Digest != "" {
			continue
		}
		digest, err := w.digest(ctx, a, asOf, served)
		if err != nil {
			w.Log.Debug("image has no digest yet", "service", w.svc.Name, "image", a.Ref, "error", err)
			continue
		}
		wanted.Artifacts[i].Digest = digest
	}
}

// digest asks the registry. Where it cannot answer, or does not know the image,
// what is here under that name is what Compose would run.
func (w *Worker) digest(ctx context.Context, a agent.Artifact, asOf time.Time, served *agent.Release) (string, error) {
	digest, err := w.Resolver.Resolve(ctx, a.Ref, asOf)
	if err == nil {
		return digest, nil
	}
	a.Digest = knownDigest(served, a) // of several that an image may have, the one that says that nothing changed
	local, here, localErr := w.Target.Local(ctx, w.svc, a)
	switch {
	case localErr != nil:
		return "", errors.Join(err, localErr)
	case here:
		w.Log.Debug("registry cannot tell, using the local image", "service", w.svc.Name, "image", a.Ref, "error", err)
		return local, nil
	}
	return "", fmt.Errorf("image %s of compose service %q: %w", a.Ref, a.Name, err)
}

// knownDigest is what a release runs under a name.
func knownDigest(rel *agent.Release, a agent.Artifact) string {
	if rel == nil {
		return ""
	}
	for _, known := range rel.Artifacts {
		if known.Name == a.Name && known.Ref == a.Ref {
			return known.Digest
		}
	}
	return ""
}

// newer tells whether something other than this deployment's release is wanted by
// now and would be deployed. It looks only when there is news; check interrupts
// the look. Orders that ask for what is under way are answered.
func (c *cycle) newer(ctx context.Context, check func(context.Context) error) bool {
	if !c.dirty {
		return c.waiting
	}
	c.dirty = false
	err := c.lookAtWanted(ctx, c.newestOrder(), check)
	switch {
	case errors.Is(err, errOvertaken):
		c.dirty = true
		return false
	case err != nil:
		c.refusePending(err)
		c.lookAgain = time.Now().Add(retryLongest / 3)
		return c.waiting
	case c.wanted.invalid != nil:
		c.refusePending(c.wanted.invalid)
		c.waiting = false
		return false
	}
	c.waiting = c.isNewer()
	return c.waiting
}

func (c *cycle) isNewer() bool {
	same := c.wanted.fingerprint == c.dep.Fingerprint
	if same {
		c.answerSame(agent.Receipt{Deployment: c.dep.ID, Message: fmt.Sprintf("deployment %d is under way", c.dep.ID)})
	}
	switch {
	case len(c.pending) > 0:
		return true
	case same, c.wanted.fingerprint == c.record.Wanted:
		return false
	case c.dep.State == agent.StateFetching && !c.record.Pause.Active(time.Now()):
		return true // what is fetched is not wanted any more, whatever comes of the other
	}
	plan, err := c.planNow(request{})
	return err == nil && (plan.Action == agent.PlanDeploy || plan.Action == agent.PlanAdopt)
}
