package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// preflight refuses what could not be undone or would reach beyond the service:
// external resources that are not there, volumes whose definition changed, and networks whose definition changed while
// others use them. Nothing was touched when it fails.
func (a *applying) preflight(ctx context.Context, project *types.Project) error {
	if project == nil {
		return nil
	}
	if err := a.externalsExist(ctx, project); err != nil {
		return err
	}
	if err := a.volumesFit(ctx, project); err != nil {
		return err
	}
	return a.networksFit(ctx, project)
}

// externalsExist looks for the networks and volumes that somebody else has to
// make.
func (a *applying) externalsExist(ctx context.Context, project *types.Project) error {
	ctx, cancel := ask(ctx)
	defer cancel()
	absent := func(kind, name string, err error) error {
		if errdefs.IsNotFound(err) {
			return agent.WithHint(fmt.Errorf("the external %s %q does not exist: %w", kind, name, agent.ErrPreflight),
				fmt.Sprintf("docker %s create %s", kind, name))
		}
		return a.engine.wrap(ctx, err, "looking for the %s %q", kind, name)
	}
	for _, n := range project.Networks {
		if n.External {
			if _, err := a.engine.client.NetworkInspect(ctx, n.Name, client.NetworkInspectOptions{}); err != nil {
				return absent("network", n.Name, err)
			}
		}
	}
	for _, v := range project.Volumes {
		if v.External {
			if _, err := a.engine.client.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{}); err != nil {
				return absent("volume", v.Name, err)
			}
		}
	}
	return nil
}

func (a *applying) volumesFit(ctx context.Context, project *types.Project) error {
	if len(project.Volumes) == 0 {
		return nil
	}
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := a.engine.client.VolumeList(ctx, client.VolumeListOptions{Filters: ofProject(project.Name)})
	if err != nil {
		return a.engine.wrap(ctx, err, "listing the volumes of project %q", project.Name)
	}
	for key, wanted := range project.Volumes {
		i := slices.IndexFunc(list.Items, func(v volume.Volume) bool {
			return v.Labels[api.VolumeLabel] == key && v.Name == wanted.Name
		})
		if wanted.External || i < 0 {
			continue
		}
		hash, err := composesdk.VolumeHash(wanted)
		if err != nil {
			return fmt.Errorf("hashing volume %q: %w", key, err)
		}
		if recorded := list.Items[i].Labels[api.ConfigHashLabel]; recorded != "" && recorded != hash {
			return agent.WithHint(fmt.Errorf("the definition of volume %q changed; recreating it loses its data: %w", wanted.Name, agent.ErrPreflight),
				"copy its data away, then by hand: "+a.byHand())
		}
	}
	return nil
}

func (a *applying) networksFit(ctx context.Context, project *types.Project) error {
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := a.engine.client.NetworkList(ctx, client.NetworkListOptions{Filters: ofProject(project.Name)})
	if err != nil {
		return a.engine.wrap(ctx, err, "listing the networks of project %q", project.Name)
	}
	for key, wanted := range project.Networks {
		i := slices.IndexFunc(list.Items, func(n network.Summary) bool { return n.Labels[api.NetworkLabel] == key })
		if wanted.External || i < 0 {
			continue
		}
		hash, err := composesdk.NetworkHash(&wanted)
		if err != nil {
			return fmt.Errorf("hashing network %q: %w", key, err)
		}
		if recorded := list.Items[i].Labels[api.ConfigHashLabel]; recorded == "" || recorded == hash {
			continue
		}
		others, err := a.othersOn(ctx, key, list.Items[i].ID)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return agent.WithHint(fmt.Errorf("the definition of network %q changed, and %s outside the service use it: %w",
				wanted.Name, strings.Join(others, ", "), agent.ErrPreflight), "by hand: "+a.byHand())
		}
	}
	return nil
}

// othersOn names who uses a network without being part of the unit: compose
// services of the project, and containers that are attached.
func (a *applying) othersOn(ctx context.Context, key, networkID string) ([]string, error) {
	var others []string
	for name, s := range a.model.project.Services {
		if _, uses := s.Networks[key]; uses && !slices.Contains(a.model.unit, name) {
			others = append(others, name)
		}
	}
	own, err := a.engine.containers(ctx, a.id)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, c := range own {
		ids[c.ID] = true
	}
	inspected, err := a.engine.client.NetworkInspect(ctx, networkID, client.NetworkInspectOptions{})
	if err != nil {
		return nil, a.engine.wrap(ctx, err, "inspecting network %.12s", networkID)
	}
	for id, endpoint := range inspected.Network.Containers {
		if !ids[id] {
			others = append(others, endpoint.Name)
		}
	}
	slices.Sort(others)
	return slices.Compact(others), nil
}

func ofProject(name string) client.Filters {
	return make(client.Filters).Add("label", api.ProjectLabel+"="+name)
}

// byHand is the command that does what the agent refuses to do.
func (a *applying) byHand() string {
	words := []string{"docker", "compose", "-p", a.model.project.Name}
	for _, file := range a.model.project.ComposeFiles {
		words = append(words, "-f", file)
	}
	return strings.Join(append(words, "up", "-d"), " ")
}
