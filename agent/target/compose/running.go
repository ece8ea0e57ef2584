package compose

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
)

// Running reports the containers of a service. It works from labels: the compose
// files may be broken, or gone.
func (t *Target) Running(ctx context.Context, svc agent.Service) (agent.Running, error) {
	e, id, err := t.whoIs(ctx, svc)
	if err != nil || id.project == "" {
		return agent.Running{}, err
	}
	return e.running(ctx, id)
}

// whoIs returns who a service is, without loading its files where that is known.
// The project is "" when nothing of the service can exist.
func (t *Target) whoIs(ctx context.Context, svc agent.Service) (*engine, identity, error) {
	e, err := t.engine(svc)
	if err != nil {
		return nil, identity{}, err
	}
	if id, ok := t.recall(svc); ok {
		return e, id, nil
	}
	id, err := t.identify(ctx, e, svc)
	if err != nil {
		return e, id, err
	}
	if m, err := load(ctx, svc, id); err == nil {
		id = id.of(m)
		t.remember(svc, id)
		return e, id, nil
	}
	if len(svc.Compose.Services) > 0 {
		id.unit = svc.Compose.Services
	}
	return e, id, nil
}

// running lists and inspects the containers of an identity.
func (e *engine) running(ctx context.Context, id identity) (agent.Running, error) {
	all, err := e.projectContainers(ctx, id.project)
	if err != nil {
		return agent.Running{}, err
	}
	var running agent.Running
	list := slices.DeleteFunc(id.own(all), func(c container.Summary) bool {
		residue := replaces(c) && c.State != container.StateRunning
		if residue {
			running.Residue = append(running.Residue, nameOf(c))
		}
		return residue
	})
	found, err := e.instances(ctx, list)
	if err != nil {
		return agent.Running{}, err
	}
	for i, instance := range found {
		if instance == nil {
			continue // gone meanwhile
		}
		instance.Config = id.configOf(list[i], all)
		if parent := namespaceOf(list[i]); parent != "" && !e.among(ctx, parent, all) {
			instance.Config += " in the network of a container that is gone"
		}
		running.Instances = append(running.Instances, *instance)
	}
	return running, nil
}

// instances inspects containers, a few at a time. One that is gone is nil.
func (e *engine) instances(ctx context.Context, list []container.Summary) ([]*agent.Instance, error) {
	images := newImageCache(e)
	found := make([]*agent.Instance, len(list))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, c := range list {
		group.Go(func() (err error) {
			found[i], err = e.instance(groupCtx, c.ID, images)
			return err
		})
	}
	return found, group.Wait()
}

// containers lists the service's containers, in any state, by name.
func (e *engine) containers(ctx context.Context, id identity) ([]container.Summary, error) {
	all, err := e.projectContainers(ctx, id.project)
	return id.own(all), err
}

// projectContainers lists all containers of a compose project, by name.
func (e *engine) projectContainers(ctx context.Context, project string) ([]container.Summary, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", api.ProjectLabel+"="+project),
	})
	if err != nil {
		return nil, e.wrap(ctx, err, "listing the containers of project %q", project)
	}
	slices.SortFunc(list.Items, func(a, b container.Summary) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	return list.Items, nil
}

// own picks the service's containers.
func (id identity) own(all []container.Summary) []container.Summary {
	var own []container.Summary
	for _, c := range all {
		if id.owns(c.Labels) && c.State != container.StateRemoving {
			own = append(own, c)
		}
	}
	return own
}

// owns tells whether a container with these labels is an instance of the
// service: neither of another compose service, nor a one-off, nor a hook.
func (id identity) owns(labels map[string]string) bool {
	if labels[api.ProjectLabel] != id.project || labels[api.OneoffLabel] == "True" || labels[api.HookLabel] != "" || labels[api.ConfigHashLabel] == "" {
		return false
	}
	return id.unit == nil || slices.Contains(id.unit, labels[api.ServiceLabel])
}

var replacingName = regexp.MustCompile(`^[0-9a-f]{12}_`)

// replaces tells whether a container still has the name that Compose gives it
// while it takes another's place.
func replaces(c container.Summary) bool { return replacingName.MatchString(nameOf(c)) }

func nameOf(c container.Summary) string {
	for _, name := range c.Names {
		if strings.Count(name, "/") == 1 { // the others are links
			return strings.TrimPrefix(name, "/")
		}
	}
	return c.ID
}

// namespaceOf returns the container whose network a container is in, "" for its
// own.
func namespaceOf(c container.Summary) string {
	parent, _ := strings.CutPrefix(c.HostConfig.NetworkMode, "container:")
	if parent == c.HostConfig.NetworkMode {
		return ""
	}
	return parent
}

// among tells whether a container is in a list, or at least lives: it may be of
// another project.
func (e *engine) among(ctx context.Context, containerID string, all []container.Summary) bool {
	return slices.ContainsFunc(all, func(c container.Summary) bool { return c.ID == containerID }) || e.lives(ctx, containerID)
}

func (e *engine) lives(ctx context.Context, containerID string) bool {
	ctx, cancel := ask(ctx)
	defer cancel()
	_, err := e.client.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
	return !errdefs.IsNotFound(err)
}
