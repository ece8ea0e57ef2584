package compose

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// Projects lists what runs on an engine and was made by Compose: as a config
// would describe it, the project's name included.
func (t *Target) Projects(ctx context.Context, host string) ([]agent.Compose, error) {
	e, err := t.engine(agent.Service{Compose: agent.Compose{DockerHost: host}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{
		Filters: make(client.Filters).Add("label", api.ConfigFilesLabel),
	})
	if err != nil {
		return nil, e.refusal(e.wrap(ctx, err, "looking for compose projects"))
	}
	newest := map[string]container.Summary{}
	for _, c := range list.Items {
		project := c.Labels[api.ProjectLabel]
		if project != "" && c.Labels[api.OneoffLabel] != "True" && c.Created >= newest[project].Created {
			newest[project] = c
		}
	}
	var found []agent.Compose
	for _, project := range slices.Sorted(maps.Keys(newest)) {
		l := readLabels(newest[project].Labels)
		found = append(found, agent.Compose{
			Files: within(l.files, l.directory), Project: project, ProjectDirectory: l.directory,
			EnvFiles: within(l.envFiles, l.directory), DockerHost: host,
		})
	}
	return found, nil
}

// within makes paths absolute: the old docker-compose labelled what it was told.
func within(paths []string, dir string) []string {
	var all []string
	for _, path := range paths {
		all = append(all, absolute(path, dir))
	}
	return all
}

// withRunningProfiles turns on the profiles without which a compose service that
// runs would not be in the model. Nothing says which were on; this says at least
// that one was.
func (t *Target) withRunningProfiles(ctx context.Context, svc *agent.Service, m model) (model, error) {
	e, err := t.engine(*svc)
	if err != nil {
		return m, err
	}
	running, err := e.runningOf(ctx, m.project.Name)
	if err != nil || len(svc.Compose.Profiles) > 0 {
		return m, err
	}
	var profiles []string
	for name, s := range m.project.DisabledServices {
		if len(running[name]) > 0 && len(s.Profiles) > 0 {
			profiles = append(profiles, s.Profiles[0])
		}
	}
	if len(profiles) == 0 {
		return m, nil
	}
	slices.Sort(profiles)
	wider := *svc
	wider.Compose.Profiles = slices.Compact(profiles)
	with, err := outlined(ctx, &wider)
	if err != nil {
		m.warnings = append(m.warnings, fmt.Sprintf("profile %s is in use, and cannot be turned on: %v", strings.Join(profiles, ", "), err))
		return m, nil
	}
	*svc = wider
	return with, nil
}

// lookAround fills in what the engine knows: what runs, and which images bring a
// HEALTHCHECK.
func (t *Target) lookAround(ctx context.Context, svc agent.Service, o *Outline) error {
	e, err := t.engine(svc)
	if err != nil {
		return err
	}
	running, err := e.runningOf(ctx, o.Project)
	if err != nil {
		return err
	}
	for i := range o.Parts {
		part := &o.Parts[i]
		part.Running = len(running[part.Name]) > 0
		for j, port := range part.Ports {
			part.Ports[j].Open = slices.ContainsFunc(running[part.Name], func(c container.Summary) bool { return publishes(c, port) })
		}
		if part.Check != CheckUnknown {
			continue
		}
		if part.Check, err = e.imageCheck(ctx, part.Image); err != nil {
			return err
		}
	}
	return nil
}

// runningOf lists the running containers of a project by compose service.
func (e *engine) runningOf(ctx context.Context, project string) (map[string][]container.Summary, error) {
	all, err := e.projectContainers(ctx, project)
	by := map[string][]container.Summary{}
	for _, c := range all {
		if c.State == container.StateRunning && c.Labels[api.OneoffLabel] != "True" {
			name := c.Labels[api.ServiceLabel]
			by[name] = append(by[name], c)
		}
	}
	return by, err
}

func publishes(c container.Summary, port Port) bool {
	return port.Port != 0 && slices.ContainsFunc(c.Ports, func(p container.PortSummary) bool {
		return p.Type == "tcp" && int(p.PublicPort) == port.Port && int(p.PrivatePort) == port.Inside
	})
}

func (e *engine) imageCheck(ctx context.Context, ref string) (Check, error) {
	image, err := e.image(ctx, ref)
	switch {
	case err != nil:
		return CheckUnknown, err
	case image == nil:
		return CheckUnknown, nil
	case image.Config == nil || image.Config.Healthcheck == nil:
		return CheckNone, nil
	}
	if test := image.Config.Healthcheck.Test; len(test) == 0 || test[0] == "NONE" {
		return CheckNone, nil
	}
	return CheckImage, nil
}

// Engine is what an engine says of itself.
type Engine struct {
	Host, Version, API string
	Ahead              time.Duration // of this program's clock
	Root               string        // where it keeps images, "" where that is another machine's
}

// Engine asks the engine of a service who it is, and whether it takes orders from
// us. It changes nothing: the order is about a container that does not exist.
func (t *Target) Engine(ctx context.Context, svc agent.Service) (Engine, error) {
	e, err := t.engine(svc)
	if err != nil {
		return Engine{Host: cmp.Or(svc.Compose.DockerHost, client.DefaultDockerHost)}, err
	}
	found := Engine{Host: e.host}
	ctx, cancel := ask(ctx)
	defer cancel()
	began := time.Now()
	info, err := e.client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return found, e.refusal(e.wrap(ctx, err, "asking the engine about itself"))
	}
	middle := began.Add(time.Since(began) / 2)
	found.Version, found.API = info.Info.ServerVersion, e.client.ClientVersion()
	if now, err := time.Parse(time.RFC3339Nano, info.Info.SystemTime); err == nil {
		found.Ahead = now.Sub(middle)
	}
	if strings.HasPrefix(e.host, "unix://") {
		found.Root = info.Info.DockerRootDir
	}
	_, err = e.client.ContainerUnpause(ctx, "rollback-agent-"+strings.ToLower(rand.Text()), client.ContainerUnpauseOptions{})
	if err != nil && !errdefs.IsNotFound(err) {
		err = agent.WithHint(e.wrap(ctx, err, "giving the engine an order"), "it answers questions and refuses orders: a proxy in front of it must allow POST")
		return found, err
	}
	return found, nil
}

// refusal says what to do about a socket that is there and not for us.
func (e *engine) refusal(err error) error {
	path, local := strings.CutPrefix(e.host, "unix://")
	if err == nil || !local || !errors.Is(err, agent.ErrUnreachable) {
		return err
	}
	connection, dialErr := net.DialTimeout("unix", path, time.Second)
	switch {
	case dialErr == nil:
		return errors.Join(err, connection.Close())
	case errors.Is(dialErr, os.ErrPermission):
		return agent.WithHint(err, "this user may not use it: run as root, or join group docker (usermod -aG docker USER, then log in again)")
	case errors.Is(dialErr, os.ErrNotExist):
		return agent.WithHint(err, "there is no "+filepath.Clean(path)+": start Docker, or set docker_host to where it listens")
	}
	return err
}

// Origin tells whether an image is on this host, and whether it was made there:
// no registry ever had it under this name.
func (t *Target) Origin(ctx context.Context, svc agent.Service, ref string) (here, homemade bool, err error) {
	e, err := t.engine(svc)
	if err != nil {
		return false, false, err
	}
	image, err := e.image(ctx, ref)
	if err != nil || image == nil {
		return false, false, err
	}
	if image.Identity != nil && len(image.Identity.Build) > 0 && len(image.Identity.Pull) == 0 {
		return true, true, nil
	}
	wanted := repository(ref)
	return true, !slices.ContainsFunc(image.RepoDigests, func(known string) bool { return repository(known) == wanted }), nil
}
