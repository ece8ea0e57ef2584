package compose

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// secure looks for the image on this host and puts the keep tag on it, before a
// Retain for another service may find that nobody needs it.
func (f *fetching) secure(ctx context.Context, a agent.Artifact) (*client.ImageInspectResult, error) {
	unlock, err := f.locks.lock(ctx, "images "+f.engine.host)
	if err != nil {
		return nil, err
	}
	defer unlock()
	image, err := f.here(ctx, a)
	if err != nil || image == nil {
		return nil, err
	}
	return image, f.engine.keep(ctx, image.ID, f.keepTag(a))
}

// here looks for the artifact's image on this host: by the ID that an earlier
// Fetch found, by digest, and under the keep tags of this release and of the one
// that it restores. What a name leads to is only believed by its digest.
func (f *fetching) here(ctx context.Context, a agent.Artifact) (*client.ImageInspectResult, error) {
	names := []string{byDigest(a.Ref, a.Digest), a.Digest, keepTag(f.svc.Name, a.Name, f.rel.Number)}
	if f.rel.Restores > 0 {
		names = append(names, keepTag(f.svc.Name, a.Name, f.rel.Restores))
	}
	if a.Local != "" {
		names = append(names, a.Local)
	}
	for _, name := range names {
		image, err := f.engine.image(ctx, name)
		if err != nil {
			return nil, err
		}
		if image != nil && (isImage(image, a.Digest) || a.Local != "" && image.ID == a.Local) {
			return image, nil
		}
	}
	return nil, nil
}

// bring pulls the artifact, looks whether it arrived, and puts the release's tag
// on it.
func (f *fetching) bring(ctx context.Context, a agent.Artifact) (*client.ImageInspectResult, error) {
	ref := byDigest(a.Ref, a.Digest)
	if only, err := f.onlyLocal(ctx, a); err != nil {
		return nil, err
	} else if only {
		return nil, agent.WithHint(agent.Permanent(fmt.Errorf("image %.19s was never in a registry, and it is gone: %w", a.Digest, agent.ErrSourceMissing)),
			"build it again, or load it: docker load")
	}
	f.log.Info("pulling image", "service", f.svc.Name, "release", f.rel.Number, "image", ref)
	if err := f.pull(ctx, f.engine, ref, f.platform(a), func(done, total int64) { f.report(a, done, total) }); err != nil {
		f.strays.add(f.engine.host, ref)
		return nil, f.explainMissing(ctx, a, err)
	}
	// Whoever gives up now must not leave an image that nobody knows to be ours.
	image, err := f.claim(context.WithoutCancel(ctx), a)
	if err != nil {
		return nil, err
	}
	if image == nil || !isImage(image, a.Digest) {
		return nil, fmt.Errorf("pulling %s: the pull ended without an error, but the image is not here", ref)
	}
	return image, nil
}

// claim puts the keep tag on what was pulled, and then the mark that the agent
// brought it: a mark alone would say that nobody needs it.
func (f *fetching) claim(ctx context.Context, a agent.Artifact) (*client.ImageInspectResult, error) {
	ref := byDigest(a.Ref, a.Digest)
	image, err := f.engine.image(ctx, ref)
	if err != nil || image == nil {
		return nil, err
	}
	return image, errors.Join(f.engine.keep(ctx, image.ID, f.keepTag(a)), f.engine.tag(ctx, image.ID, pulledMark(ref)))
}

// onlyLocal tells whether the artifact's digest is an image ID, which no registry
// knows. In a containerd image store IDs are manifest digests and tell nothing.
func (f *fetching) onlyLocal(ctx context.Context, a agent.Artifact) (bool, error) {
	if a.Local != a.Digest {
		return false, nil
	}
	info, err := f.engine.info(ctx)
	return err == nil && !usesContainerd(info), err
}

// explainMissing says of a failed pull what it means for the release: what is to
// be restored and can be had nowhere is missing, whatever the reason.
func (f *fetching) explainMissing(ctx context.Context, a agent.Artifact, err error) error {
	if f.rel.Restores == 0 || errors.Is(err, agent.ErrSourceMissing) || ctx.Err() != nil {
		return err
	}
	hint := agent.Hint(err)
	if hint == "" {
		hint = "bring the image here: docker pull " + byDigest(a.Ref, a.Digest)
	}
	return agent.WithHint(fmt.Errorf("%w: %w", agent.ErrSourceMissing, err), hint)
}

// fits refuses an image that this engine cannot run.
func (f *fetching) fits(ctx context.Context, a agent.Artifact, image *client.ImageInspectResult) error {
	wanted := f.platform(a)
	if wanted == "" {
		var err error
		if wanted, err = f.engine.ownPlatform(ctx); err != nil {
			return err
		}
	}
	want, err := platforms.Parse(wanted)
	if err != nil {
		return agent.Permanent(fmt.Errorf("reading the platform %q: %w", wanted, err))
	}
	if image.Os == "" || image.Architecture == "" || image.Os == want.OS && image.Architecture == want.Architecture {
		return nil
	}
	return agent.WithHint(agent.Permanent(fmt.Errorf("the image is for %s/%s, but %s/%s is needed", image.Os, image.Architecture, want.OS, want.Architecture)),
		fmt.Sprintf("build it for %s/%s, or push an index with both", want.OS, want.Architecture))
}
