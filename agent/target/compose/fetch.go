package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/platforms"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
)

// Fetch brings the images of a release here, by digest, checks that what arrived
// is what was wanted, and puts the release's keep tags on them. The local tags
// that the files name are not touched.
func (t *Target) Fetch(ctx context.Context, svc agent.Service, rel agent.Release, progress func(agent.Progress)) (agent.Release, error) {
	e, err := t.engine(svc)
	if err != nil {
		return rel, err
	}
	m, err := restore(ctx, rel)
	if err != nil {
		return rel, err
	}
	f := &fetching{Target: t, engine: e, svc: svc, rel: rel, model: m, progress: progress}
	fetched := slices.Clone(rel.Artifacts)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxPulls)
	for i := range fetched {
		group.Go(func() error { return f.learn(groupCtx, &fetched[i]) })
	}
	if err := group.Wait(); err != nil {
		return rel, err
	}
	rel.Artifacts, rel.Secrets = fetched, secretsOf(m)
	return rel, nil
}

// maxPulls is how many images of one release are pulled at a time.
const maxPulls = 3

// fetching is one Fetch.
type fetching struct {
	*Target
	engine *engine
	svc    agent.Service
	rel    agent.Release
	model  model

	mu       sync.Mutex // progress is never called twice at a time
	progress func(agent.Progress)
}

// learn brings one artifact here and fills in what Up and Running will show.
func (f *fetching) learn(ctx context.Context, a *agent.Artifact) (err error) {
	s, ok := f.model.project.Services[a.Name]
	if !ok {
		return agent.Permanent(fmt.Errorf("%s of service %q has no compose service %q", agent.ReleaseName(f.rel.Number), f.svc.Name, a.Name))
	}
	if a.Local, err = f.fetch(ctx, *a); err != nil {
		return fmt.Errorf("fetching %s for service %q: %w", a.Ref, f.svc.Name, err)
	}
	if a.Config, err = composesdk.ServiceHash(s); err != nil {
		return fmt.Errorf("hashing compose service %q: %w", a.Name, err)
	}
	return f.bringHooks(ctx, s)
}

// bringHooks gets the images of the service's pre_start hooks, by the name that
// the file gives them: they are no artifacts, but Up needs them.
func (f *fetching) bringHooks(ctx context.Context, s types.ServiceConfig) error {
	for _, ref := range api.GetDependentImages(s, f.model.project.Name) {
		image, err := f.engine.image(ctx, ref)
		if err != nil {
			return err
		}
		if image == nil {
			if err := f.pull(ctx, f.engine, ref, s.Platform, func(int64, int64) {}); err != nil {
				return fmt.Errorf("fetching the hook image %s of compose service %q: %w", ref, s.Name, err)
			}
		}
	}
	return nil
}

// platform is what the files want the artifact to run on, "" for the engine's
// own.
func (f *fetching) platform(a agent.Artifact) string {
	return cmp.Or(f.model.project.Services[a.Name].Platform, f.model.project.Environment["DOCKER_DEFAULT_PLATFORM"])
}

// fetch returns the ID of the artifact's image, which is here afterwards, under
// the release's keep tag.
func (f *fetching) fetch(ctx context.Context, a agent.Artifact) (string, error) {
	if a.Digest == "" {
		return "", agent.Permanent(errors.New("the reference has no digest"))
	}
	image, err := f.secure(ctx, a)
	if err != nil {
		return "", err
	}
	pulled := image == nil
	if pulled {
		if image, err = f.bring(ctx, a); err != nil {
			return "", err
		}
		if err = f.engine.keep(ctx, image.ID, f.keepTag(a)); err != nil {
			return "", err
		}
	}
	if err := f.fits(ctx, a, image); err != nil {
		return "", err
	}
	if pulled { // after the keep tag: a mark alone says that nobody needs the image
		err = f.engine.tag(ctx, image.ID, pulledTag(image.ID))
	}
	f.report(a, 1, 1)
	return image.ID, err
}

// keepTag is the tag of the release, "" for one without a number.
func (f *fetching) keepTag(a agent.Artifact) string {
	if f.rel.Number == 0 {
		return ""
	}
	return keepTag(f.svc.Name, a.Name, f.rel.Number)
}

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

// bring pulls the artifact and looks whether it arrived.
func (f *fetching) bring(ctx context.Context, a agent.Artifact) (*client.ImageInspectResult, error) {
	ref := byDigest(a.Ref, a.Digest)
	if only, err := f.onlyLocal(ctx, a); err != nil {
		return nil, err
	} else if only {
		return nil, agent.WithHint(agent.Permanent(fmt.Errorf("image %.19s was never in a registry, and it is gone: %w", a.Digest, agent.ErrSourceMissing)),
			"build it again, or load it: docker load")
	}
	f.log.Info("pulling image", "service", f.svc.Name, "release", f.rel.Number, "image", ref)
	err := f.pull(ctx, f.engine, ref, f.platform(a), func(done, total int64) { f.report(a, done, total) })
	if err != nil {
		return nil, f.explainMissing(ctx, a, err)
	}
	image, err := f.engine.image(ctx, ref)
	if err != nil {
		return nil, err
	}
	if image == nil || !isImage(image, a.Digest) {
		return nil, fmt.Errorf("pulling %s: the pull ended without an error, but the image is not here", ref)
	}
	return image, nil
}

// onlyLocal tells whether the artifact's digest is an image ID, which no registry
// knows. In a containerd image store IDs are manifest digests and tell nothing.
func (f *fetching) onlyLocal(ctx context.Context, a agent.Artifact) (bool, error) {
	if a.Local != a.Digest {
		return false, nil
	}
	ctx, cancel := ask(ctx)
	defer cancel()
	info, err := f.engine.client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return false, f.engine.wrap(ctx, err, "asking the engine for its image store")
	}
	containerd := slices.ContainsFunc(info.Info.DriverStatus, func(pair [2]string) bool {
		return strings.HasPrefix(pair[1], "io.containerd.snapshotter")
	})
	return !containerd, nil
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

func (f *fetching) report(a agent.Artifact, done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.progress != nil {
		f.progress(agent.Progress{Artifact: a.Name, Done: done, Total: total})
	}
}
