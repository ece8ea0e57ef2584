package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"rollback-agent/agent"
)

// unitOf names the compose services that are the service: those of the config,
// or all that have an image; and whoever shares a namespace or volumes with one
// of them, because it cannot outlive it.
func (m *model) unitOf(svc agent.Service) ([]string, error) {
	names, err := m.chosen(svc)
	if err != nil {
		return nil, err
	}
	names = m.withDependents(names)
	slices.Sort(names)
	for _, name := range names {
		if err := deployable(svc, m.project.Services[name]); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, agent.WithHint(agent.Permanent(fmt.Errorf("service %q has no compose service with an image", svc.Name)),
			"the agent does not build: give a service an `image:`")
	}
	return names, nil
}

func (m *model) chosen(svc agent.Service) ([]string, error) {
	if len(svc.Compose.Services) == 0 {
		var names []string
		for name, s := range m.project.Services {
			if s.Image != "" && s.Provider == nil {
				names = append(names, name)
			}
		}
		return names, nil
	}
	for _, name := range svc.Compose.Services {
		if _, ok := m.project.Services[name]; !ok {
			return nil, unknown(fmt.Sprintf("service %q names", svc.Name), name, m.project.AllServices())
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(svc.Compose.Services))), nil
}

// unknown refuses the name of a compose service. who says which key names it.
func unknown(who, name string, all types.Services) error {
	names := slices.Sorted(keysOf(all))
	err := agent.Permanent(fmt.Errorf("%s the compose service %q, which its files do not have", who, name))
	return agent.WithHint(err, cmp.Or(didYouMean(name, names), "the files have "+strings.Join(names, ", ")))
}

// strangeOneShot refuses a name that would make a job look like a crash.
func strangeOneShot(svc agent.Service, all types.Services) error {
	for _, name := range svc.Compose.OneShots {
		if _, ok := all[name]; !ok {
			return unknown(fmt.Sprintf("one_shots of service %q names", svc.Name), name, all)
		}
	}
	return nil
}

// strangeProfiles warns of profiles that switch nothing on.
func strangeProfiles(profiles []string, all types.Services) []string {
	known := []string{"*"} // all of them
	for _, s := range all {
		known = append(known, s.Profiles...)
	}
	var warnings []string
	for _, name := range profiles {
		if slices.Contains(known, name) {
			continue
		}
		warning := fmt.Sprintf("no compose service has the profile %q", name)
		if question := didYouMean(name, slices.Sorted(slices.Values(known))); question != "" {
			warning += ": " + question
		}
		warnings = append(warnings, warning)
	}
	return warnings
}

// didYouMean asks for the nearest of some names, if one is near.
func didYouMean(name string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	best := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) > max(2, len(name)/3) {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// deployable refuses what the agent cannot make serve.
func deployable(svc agent.Service, s types.ServiceConfig) error {
	switch {
	case s.Provider != nil:
		return agent.WithHint(agent.Permanent(fmt.Errorf("compose service %q of service %q is run by a provider", s.Name, svc.Name)),
			"leave it out with compose_services")
	case len(s.Models) > 0:
		return agent.WithHint(agent.Permanent(fmt.Errorf("compose service %q of service %q uses models", s.Name, svc.Name)),
			"leave it out with compose_services")
	case s.Image == "":
		return agent.WithHint(agent.Permanent(fmt.Errorf("compose service %q of service %q has no image", s.Name, svc.Name)),
			"the agent does not build: give it an `image:`, or leave it out with compose_services")
	}
	return nil
}

// withDependents adds, again and again, whoever shares a namespace or volumes
// with a service of the list.
func (m *model) withDependents(names []string) []string {
	for grown := true; grown; {
		grown = false
		for name, s := range m.project.Services {
			if slices.Contains(names, name) || !sharesWithAny(s, names) {
				continue
			}
			if s.Image == "" {
				m.warnings = append(m.warnings, fmt.Sprintf("%s shares a namespace with the service but has no image; it is not recreated with it", name))
				continue
			}
			names, grown = append(names, name), true
		}
	}
	return names
}

func sharesWithAny(s types.ServiceConfig, names []string) bool {
	return slices.ContainsFunc(parentsOf(s), func(parent string) bool { return slices.Contains(names, parent) })
}

// parentsOf names the compose services whose namespaces or volumes s uses.
func parentsOf(s types.ServiceConfig) []string {
	var parents []string
	for _, mode := range []string{s.NetworkMode, s.Ipc, s.Pid} {
		if parent, ok := strings.CutPrefix(mode, types.ServicePrefix); ok {
			parents = append(parents, parent)
		}
	}
	for _, from := range s.VolumesFrom {
		if !strings.HasPrefix(from, types.ContainerPrefix) {
			parent, _, _ := strings.Cut(from, ":")
			parents = append(parents, parent)
		}
	}
	return parents
}

// oneShotsOf names the services of the unit whose exit 0 is their success.
func oneShotsOf(project *types.Project, unit, configured []string) []string {
	set := slices.Clone(configured)
	for _, s := range project.Services {
		for name, dependency := range s.DependsOn {
			if dependency.Condition == types.ServiceConditionCompletedSuccessfully {
				set = append(set, name)
			}
		}
	}
	set = slices.DeleteFunc(set, func(name string) bool { return !slices.Contains(unit, name) })
	slices.Sort(set)
	return slices.Compact(set)
}

func (m *model) isOneShot(name string) bool { return slices.Contains(m.oneShots, name) }

// distance is the edit distance between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
