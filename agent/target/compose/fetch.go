package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
)

// Local resolves what a reference names on this host: the repository's own
// digest where it has one, else the image ID.
func (t *Target) Local(ctx context.Context, svc agent.Service, artifact agent.Artifact) (string, bool, error) {
	e, err := t.engine(svc)
	if err != nil {
		return "", false, err
	}
	image, err := e.image(ctx, artifact.Ref)
	if err != nil || image == nil {
		return "", false, err
	}
	wanted := repository(artifact.Ref)
	for _, ref := range slices.Sorted(slices.Values(image.RepoDigests)) {
		if repository(ref) == wanted {
			return digestPart(ref), true, nil
		}
	}
	return image.ID, true, nil
}

// image inspects an image by any name. It is nil when it is not here.
func (e *engine) image(ctx context.Context, ref string) (*client.ImageInspectResult, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	image, err := e.client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.wrap(ctx, err, "inspecting image %s", ref)
	}
	return &image, nil
}

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
	rel.Artifacts = fetched
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
	image, err := f.here(ctx, a)
	if err != nil {
		return "", err
	}
	pulled := image == nil
	if pulled {
		if image, err = f.bring(ctx, a); err != nil {
			return "", err
		}
	}
	if err := f.fits(ctx, a, image); err != nil {
		return "", err
	}
	if f.rel.Number > 0 {
		if err := f.engine.tag(ctx, image.ID, keepTag(f.svc.Name, a.Name, f.rel.Number)); err != nil {
			return "", err
		}
	}
	if pulled { // after the keep tag: a mark alone says that nobody needs the image
		err = f.engine.tag(ctx, image.ID, pulledTag(image.ID))
	}
	f.report(a, 1, 1)
	return image.ID, err
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

// isImage tells whether a digest names an image: as itself, as its manifest or
// as an index that holds it.
func isImage(image *client.ImageInspectResult, digest string) bool {
	if image.ID == digest || image.Descriptor != nil && image.Descriptor.Digest.String() == digest {
		return true
	}
	return slices.ContainsFunc(image.RepoDigests, func(ref string) bool { return digestPart(ref) == digest })
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

// ownPlatform asks the engine once what it runs on.
func (e *engine) ownPlatform(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.platform != "" {
		return e.platform, nil
	}
	ctx, cancel := ask(ctx)
	defer cancel()
	version, err := e.client.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", e.wrap(ctx, err, "asking the engine for its version")
	}
	e.platform = strings.ToLower(version.Os) + "/" + strings.ToLower(version.Arch)
	return e.platform, nil
}

func (e *engine) tag(ctx context.Context, imageID, name string) error {
	ctx, cancel := ask(ctx)
	defer cancel()
	_, err := e.client.ImageTag(ctx, client.ImageTagOptions{Source: imageID, Target: name})
	return e.wrap(ctx, err, "tagging image %.19s as %s", imageID, name)
}

func (f *fetching) report(a agent.Artifact, done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.progress != nil {
		f.progress(agent.Progress{Artifact: a.Name, Done: done, Total: total})
	}
}
