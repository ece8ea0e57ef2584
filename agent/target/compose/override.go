package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"rollback-agent/agent"
)

// override puts a human's images into the loaded model, so that everything made
// of it is what a file would give that names them. An image that the files name
// anyway is no override.
func (m *model) override(svc agent.Service) error {
	for _, name := range slices.Sorted(keysOf(svc.Overrides)) {
		if !slices.Contains(m.unit, name) {
			return noArtifact(svc, name, m.unit)
		}
		wanted, err := parseRef(svc.Overrides[name])
		if err != nil {
			return agent.WithHint(agent.Permanent(fmt.Errorf("overriding the image of compose service %q: %w", name, err)),
				"a reference is [HOST[:PORT]/]NAME[:TAG][@DIGEST], the name in lower case")
		}
		s := m.project.Services[name]
		if named, err := parseRef(s.Image); err == nil && named.String() == wanted.String() {
			continue
		}
		if m.overridden == nil {
			m.overridden = map[string]string{}
		}
		m.overridden[name], s.Image = s.Image, svc.Overrides[name]
		m.project.Services[name] = s
	}
	return nil
}

func noArtifact(svc agent.Service, name string, unit []string) error {
	there := strings.Join(unit, ", ")
	err := agent.Permanent(fmt.Errorf("overriding an image: service %q has no compose service %q, but %s", svc.Name, name, there))
	return agent.WithHint(err, cmp.Or(didYouMean(name, unit), "name one of "+there))
}
