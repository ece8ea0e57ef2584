package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"

	"rollback-agent/agent"
)

// Apply makes a release run, from its snapshot alone. The order matters:
// everything that can refuse does so before anything stops.
func (t *Target) Apply(ctx context.Context, svc agent.Service, rel agent.Release, share int) error {
	if share != 100 {
		return agent.Permanent(fmt.Errorf("applying %s of service %q: the compose target does not split traffic", agent.ReleaseName(rel.Number), svc.Name))
	}
	e, err := t.engine(svc)
	if err != nil {
		return err
	}
	m, err := restore(ctx, rel)
	if err != nil {
		return err
	}
	a := &applying{Target: t, engine: e, svc: svc, rel: rel, model: m, id: identity{
		project: m.project.Name, directory: m.project.WorkingDir, files: m.project.ComposeFiles,
		envFiles: m.envFiles, config: svc.Compose,
	}.of(m)}
	unlock, err := t.locks.lock(ctx, "project "+a.project())
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.run(ctx); err != nil {
		return fmt.Errorf("applying %s of service %q: %w", agent.ReleaseName(rel.Number), svc.Name, err)
	}
	t.remember(svc, a.id)
	return nil
}

// applying is one Apply, under the lock of its project.
type applying struct {
	*Target
	engine *engine
	svc    agent.Service
	rel    agent.Release
	model  model
	id     identity
}

func (a *applying) run(ctx context.Context) error {
	if err := a.fetched(); err != nil {
		return err
	}
	before, err := a.engine.containers(ctx, a.id)
	if err != nil {
		return err
	}
	if before, err = a.sweep(ctx, before); err != nil {
		return err
	}
	project, err := a.narrow(ctx, before)
	if err != nil {
		return err
	}
	if err := a.preflight(ctx, project); err != nil {
		return err
	}
	unlock, err := a.moveTags(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.up(ctx, project); err != nil {
		return err
	}
	return a.verify(ctx)
}

// project names the compose project among all that this process deals with.
func (a *applying) project() string { return a.engine.host + " " + a.model.project.Name }

// fetched refuses a release that no Fetch prepared.
func (a *applying) fetched() error {
	for _, artifact := range a.rel.Artifacts {
		if artifact.Local == "" {
			return fmt.Errorf("the image of %s was not fetched", artifact.Name)
		}
	}
	return nil
}

// artifact returns the artifact of a compose service.
func (a *applying) artifact(name string) (agent.Artifact, bool) {
	i := slices.IndexFunc(a.rel.Artifacts, func(x agent.Artifact) bool { return x.Name == name })
	if i < 0 {
		return agent.Artifact{}, false
	}
	return a.rel.Artifacts[i], true
}

// narrow returns the project with nothing in it but what Up may touch: the unit,
// less the one-shots that are done, or that a rollback does not repeat.
func (a *applying) narrow(ctx context.Context, before []container.Summary) (*types.Project, error) {
	names := slices.Clone(a.model.unit)
	for _, name := range a.model.oneShots {
		skip := a.rel.Restores > 0
		if !skip {
			var err error
			if skip, err = a.isDone(ctx, name, before); err != nil {
				return nil, err
			}
		}
		if skip {
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	project, err := a.model.project.WithSelectedServices(names, types.IgnoreDependencies)
	if err != nil {
		return nil, fmt.Errorf("selecting the compose services: %w", err)
	}
	project = project.WithoutUnnecessaryResources()
	for name, s := range project.Services {
		s.PullPolicy = types.PullPolicyNever
		s.Build = nil
		if artifact, ok := a.artifact(name); ok && hashesOthers(s) {
			s.CustomLabels = s.CustomLabels.Add(configLabel, artifact.Config)
		}
		project.Services[name] = s
	}
	return project, nil
}

// isDone tells whether a one-shot of exactly this release ended well already.
func (a *applying) isDone(ctx context.Context, name string, before []container.Summary) (bool, error) {
	artifact, ok := a.artifact(name)
	if !ok {
		return false, nil
	}
	for _, c := range before {
		if c.Labels[api.ServiceLabel] != name || c.State != container.StateExited || c.ImageID != artifact.Local || a.id.configOf(c, before) != artifact.Config {
			continue
		}
		instance, err := a.engine.instance(ctx, c.ID, newImageCache(a.engine))
		if err != nil {
			return false, err
		}
		if instance != nil && instance.ExitCode == 0 {
			return true, nil
		}
	}
	return false, nil
}

// moveTags points the local tags that the release names at its images, and keeps
// others from moving them until Up is through.
//
// Services that share a tag and disagree about its image do not fight: the last
// Apply moves the tag, the others go on running what they run, by image ID, and
// keep it under tags of their own. A `docker compose up` by hand of one of those
// others would then take the image of the last Apply.
func (a *applying) moveTags(ctx context.Context) (unlock func(), err error) {
	tags := map[string]string{}
	for _, artifact := range a.rel.Artifacts {
		if pinned(artifact.Ref) == "" {
			named, err := parseRef(artifact.Ref)
			if err != nil {
				return nil, agent.Permanent(err)
			}
			tags[named.String()] = artifact.Local
		}
	}
	var unlocks []func()
	unlock = func() {
		for _, u := range slices.Backward(unlocks) {
			u()
		}
	}
	for _, tag := range slices.Sorted(keysOf(tags)) { // in one order: no deadlock
		u, err := a.locks.lock(ctx, a.engine.tagLock(tag))
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks = append(unlocks, u)
		if err := a.engine.point(ctx, tag, tags[tag]); err != nil {
			unlock()
			if errdefs.IsNotFound(err) {
				return nil, fmt.Errorf("%w: %w", agent.ErrSourceMissing, err)
			}
			return nil, err
		}
	}
	return unlock, nil
}

// up runs the SDK's Up over the narrowed project.
func (a *applying) up(ctx context.Context, project *types.Project) error {
	if project == nil {
		return nil
	}
	sdk, err := a.sdk(a.engine)
	if err != nil {
		return err
	}
	options := api.UpOptions{
		Create: api.CreateOptions{
			Services:             project.ServiceNames(),
			Recreate:             api.RecreateDiverged,
			RecreateDependencies: api.RecreateNever,
			Inherit:              true,
			IgnoreOrphans:        true,
			QuietPull:            true,
		},
		Start: api.StartOptions{Project: project},
	}
	a.setCut(a.project(), true)
	began := time.Now()
	err = sdk.Up(ctx, project, options)
	a.log.Debug("up ended", "service", a.svc.Name, "release", a.rel.Number, "took_ms", time.Since(began).Milliseconds())
	if err != nil {
		a.setCut(a.project(), ctx.Err() != nil)
		return a.explainUp(ctx, err)
	}
	a.setCut(a.project(), false)
	return nil
}

func (a *applying) explainUp(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("starting the containers: %w", errors.Join(cause, err))
	}
	err = a.engine.wrap(ctx, err, "starting the containers")
	if errdefs.IsInvalidArgument(err) {
		return agent.Permanent(err)
	}
	if strings.Contains(err.Error(), "port is already allocated") || strings.Contains(err.Error(), "address already in use") {
		return agent.WithHint(err, "something else on this host listens on that port")
	}
	if strings.Contains(err.Error(), "is already in use by container") {
		return agent.WithHint(err, "another container has that name: `docker ps -a` shows it; remove or rename it")
	}
	return err
}

// verify looks whether the containers run what was wanted, and removes the
// one-shots of other releases that a rollback leaves behind: they would say for
// ever that two releases are mixed.
func (a *applying) verify(ctx context.Context) error {
	all, err := a.engine.projectContainers(ctx, a.id.project)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, c := range a.id.own(all) {
		name := c.Labels[api.ServiceLabel]
		if parent := namespaceOf(c); parent != "" && !a.engine.among(ctx, parent, all) {
			return fmt.Errorf("container %s is in the network of a container that is gone", nameOf(c))
		}
		artifact, ok := a.artifact(name)
		if !ok {
			continue
		}
		config := a.id.configOf(c, all)
		switch {
		case c.ImageID == artifact.Local && config == artifact.Config && !replaces(c):
			counts[name]++
		case artifact.OneShot && a.rel.Restores > 0:
			if err := a.engine.remove(ctx, c.ID, true); err != nil {
				return err
			}
		default:
			return fmt.Errorf("container %s is not what %s describes: image %.19s, config %.12s; wanted image %.19s, config %.12s",
				nameOf(c), agent.ReleaseName(a.rel.Number), c.ImageID, config, artifact.Local, artifact.Config)
		}
	}
	for _, artifact := range a.rel.Artifacts {
		if counts[artifact.Name] < artifact.Count {
			return fmt.Errorf("compose service %q has %d containers, wanted %d", artifact.Name, counts[artifact.Name], artifact.Count)
		}
	}
	return nil
}
