package compose

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/container"
)

// Compose mixes the IDs of other containers into the config hash of a service
// that shares their namespaces or volumes, so its label says something else after
// every recreation of the parent. What an instance shows must be what the model
// gives. Containers that the agent made carry that in a label of its own; of
// those that a human made it is found by doing the sum again.

// configLabel has the config hash that the model alone gives.
const configLabel = "rollback-agent.config"

// hashesOthers tells whether Compose mixes something into a service's config
// hash that the model alone does not give.
func hashesOthers(s types.ServiceConfig) bool {
	return len(parentsOf(s)) > 0 || s.UseAPISocket ||
		slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Type == types.VolumeTypeImage })
}

// configOf is the config hash that a container shows, as the model gives it. all
// are the project's containers, by name.
func (id identity) configOf(c container.Summary, all []container.Summary) string {
	if own := c.Labels[configLabel]; own != "" {
		return own
	}
	shown := c.Labels[api.ConfigHashLabel]
	s, mixed := id.mixed[c.Labels[api.ServiceLabel]]
	if !mixed || !stamps(mixIn(s, all), shown) {
		return shown
	}
	plain, err := composesdk.ServiceHash(s)
	if err != nil {
		return shown
	}
	return plain
}

func stamps(s types.ServiceConfig, hash string) bool {
	got, err := composesdk.ServiceHash(s)
	return err == nil && got == hash
}

// mixIn puts the IDs of the containers into a service as Up does before it
// hashes.
func mixIn(s types.ServiceConfig, all []container.Summary) types.ServiceConfig {
	s.NetworkMode = mixMode(s.NetworkMode, all)
	s.Ipc = mixMode(s.Ipc, all)
	s.Pid = mixMode(s.Pid, all)
	s.VolumesFrom = slices.Clone(s.VolumesFrom)
	for i, from := range s.VolumesFrom {
		first, second, _ := strings.Cut(from, ":")
		if first == strings.TrimSuffix(types.ContainerPrefix, ":") {
			s.VolumesFrom[i], _, _ = strings.Cut(second, ":")
		} else if id := firstOf(first, all); id != "" {
			s.VolumesFrom[i] = id
		}
	}
	return s
}

func mixMode(mode string, all []container.Summary) string {
	if parent, ok := strings.CutPrefix(mode, types.ServicePrefix); ok {
		if id := firstOf(parent, all); id != "" {
			return types.ContainerPrefix + id
		}
	}
	return mode
}

// firstOf returns the ID of a compose service's first container.
func firstOf(service string, all []container.Summary) string {
	for _, c := range all {
		if c.Labels[api.ServiceLabel] == service && c.Labels[api.OneoffLabel] != "True" && c.Labels[api.HookLabel] == "" {
			return c.ID
		}
	}
	return ""
}
