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
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
)

// Fetch brings the images of a release here, by digest, checks that what arrived
// is what was wanted, and puts the release's keep tags on them. The local tags
// that the files name are not touched. Where the disk has no room nothing is
// pulled.
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
	if err := f.lookFor(ctx, fetched); err != nil {
		return rel, err
	}
	if err := f.haveRoom(ctx); err != nil {
		return rel, err
	}
	var group errgroup.Group // one that fails does not cut off the others: the next try needs them
	group.SetLimit(maxPulls)
	for i := range fetched {
		group.Go(func() error { return f.learn(ctx, &fetched[i], f.images[i]) })
	}
	if err := group.Wait(); err != nil {
		return rel, err
	}
	rel.Artifacts, rel.Secrets = fetched, secretsOf(m)
	rel.Irreversible = rel.Irreversible || f.irreversible
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
	images []*client.ImageInspectResult // by artifact, nil is not here yet

	mu           sync.Mutex
	irreversible bool                 // one of the images says so
	progress     func(agent.Progress) // never called twice at a time
}

// lookFor finds out which of the artifacts' images are here.
func (f *fetching) lookFor(ctx context.Context, artifacts []agent.Artifact) error {
	f.images = make([]*client.ImageInspectResult, len(artifacts))
	for i, a := range artifacts {
		if _, ok := f.model.project.Services[a.Name]; !ok {
			return agent.Permanent(fmt.Errorf("%s of service %q has no compose service %q", agent.ReleaseName(f.rel.Number), f.svc.Name, a.Name))
		}
		if a.Digest == "" {
			return f.about(a, agent.Permanent(errors.New("the reference has no digest")))
		}
		var err error
		if f.images[i], err = f.secure(ctx, a); err != nil {
			return f.about(a, err)
		}
	}
	return nil
}

func (f *fetching) about(a agent.Artifact, err error) error {
	return fmt.Errorf("fetching %s for service %q: %w", a.Ref, f.svc.Name, err)
}

// learn brings one artifact here and fills in what Up and Running will show.
func (f *fetching) learn(ctx context.Context, a *agent.Artifact, image *client.ImageInspectResult) (err error) {
	if image == nil {
		if image, err = f.bring(ctx, *a); err != nil {
			return f.about(*a, err)
		}
	}
	if err := f.fits(ctx, *a, image); err != nil {
		return f.about(*a, err)
	}
	s := f.model.project.Services[a.Name]
	a.Local = image.ID
	if a.Config, err = composesdk.ServiceHash(s); err != nil {
		return fmt.Errorf("hashing compose service %q: %w", a.Name, err)
	}
	f.note(*a, image)
	return f.bringHooks(ctx, s)
}

// note reports an image that is here, and heeds what it says of itself.
func (f *fetching) note(a agent.Artifact, image *client.ImageInspectResult) {
	if isIrreversible(image) {
		f.mu.Lock()
		f.irreversible = true
		f.mu.Unlock()
	}
	f.report(a, 1, 1)
}

// irreversibleLabel is set on images that do what an older one cannot undo, such
// as a migration.
const irreversibleLabel = "rollback-agent.irreversible"

func isIrreversible(image *client.ImageInspectResult) bool {
	if image.Config == nil {
		return false
	}
	value := strings.ToLower(strings.TrimSpace(image.Config.Labels[irreversibleLabel]))
	return !slices.Contains([]string{"", "false", "0", "no"}, value)
}

// bringHooks gets the images of the service's pre_start hooks, by the name that
// the file gives them: they are no artifacts, but Up needs them. They count as
// the host's own and are never deleted.
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

// keepTag is the tag of the release, "" for one without a number.
func (f *fetching) keepTag(a agent.Artifact) string {
	if f.rel.Number == 0 {
		return ""
	}
	return keepTag(f.svc.Name, a.Name, f.rel.Number)
}

func (f *fetching) report(a agent.Artifact, done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.progress != nil {
		f.progress(agent.Progress{Artifact: a.Name, Done: done, Total: total})
	}
}
