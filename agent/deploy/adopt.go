package deploy

import (
	"context"
	"slices"

	"rollback-agent/agent"
)

// adopt takes over what serves. Where it is the files' model, with these images or
// with older ones, it can be restored later; else only what serves is known.
func (w *Worker) adopt(ctx context.Context, ask request, p agent.Plan) error {
	rel := w.wantedRelease()
	if p.Reason == agent.ReasonDrift {
		var whole bool
		if rel, whole = w.olderImages(ctx, rel); !whole {
			rel = observedRelease(w.svc.Name, w.wanted.running)
		}
	}
	return w.deploy(ctx, ask, agent.KindAdopt, rel, nil)
}

// olderImages is the files' model with the images that run, if that is what runs:
// a registry has often moved on since somebody brought the containers up.
func (w *Worker) olderImages(ctx context.Context, rel agent.Release) (agent.Release, bool) {
	running := w.wanted.running
	rel.Artifacts = slices.Clone(rel.Artifacts)
	for n, a := range rel.Artifacts {
		at := slices.IndexFunc(running.Instances, func(i agent.Instance) bool { return i.Artifact == a.Name && i.Config == a.Config })
		if at < 0 {
			if !a.OneShot {
				return rel, false
			}
			continue // its container is gone; what it did, it did
		}
		i := running.Instances[at]
		rel.Artifacts[n].Digest, rel.Artifacts[n].Local = w.digestOf(ctx, a, i), i.Local
	}
	rel.Fingerprint = agent.Fingerprint(rel.Artifacts, rel.ConfigHash)
	return rel, running.Serves(&rel, nil) == agent.ServingNew
}

// digestOf names what an instance runs: as its registry does, where the host knows
// that, so that it can be fetched again.
func (w *Worker) digestOf(ctx context.Context, a agent.Artifact, i agent.Instance) string {
	var local string
	err := w.during(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errLook)
		defer cancel()
		local, _, err = w.Target.Local(ctx, w.svc, a)
		return err
	}, nil)
	switch {
	case err == nil && local != "" && slices.Contains(i.Digests, local):
		return local
	case a.Digest != "" && slices.Contains(i.Digests, a.Digest):
		return a.Digest
	case len(i.Digests) > 0:
		return i.Digests[0]
	}
	return i.Local
}

// observedRelease describes what runs, as far as it shows from outside.
func observedRelease(service string, running agent.Running) agent.Release {
	rel := agent.Release{Service: service, Partial: true, Standing: agent.StandingNew}
	for _, i := range running.Instances {
		at := slices.IndexFunc(rel.Artifacts, i.Runs)
		if at < 0 {
			at = len(rel.Artifacts)
			rel.Artifacts = append(rel.Artifacts, agent.Artifact{Name: i.Artifact, Ref: i.Ref, Digest: i.Local, Local: i.Local, Config: i.Config})
		}
		if i.Phase == agent.PhaseRunning || i.Phase == agent.PhaseRestarting {
			rel.Artifacts[at].Count++
		}
	}
	for n, a := range rel.Artifacts {
		rel.Artifacts[n].OneShot = a.Count == 0 // what does not run now is not asked to
	}
	rel.Fingerprint = agent.Fingerprint(rel.Artifacts, "partial")
	return rel
}
