package compose

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"rollback-agent/agent"
)

// A value of fewer characters is no secret: masking "1" everywhere would leave
// nothing readable.
const minSecret = 6

// A secret's file that is longer than this is not searched for in texts.
const maxSecret = 4 << 10

// render returns a canonical form as YAML in a stable order, with every secret
// value masked. A mask ends in four hex digits of a hash, so that a change of
// the value stays visible.
func render(form map[string]any, secrets []agent.Secret) (string, error) {
	sorted := slices.Clone(secrets)
	slices.SortFunc(sorted, func(a, b agent.Secret) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range sorted { // the longest first: one may contain another
		pairs = append(pairs, s.Reveal(), mask(s.Reveal()))
	}
	text, err := yaml.Marshal(masked(form, strings.NewReplacer(pairs...)))
	if err != nil {
		return "", fmt.Errorf("rendering the model: %w", err)
	}
	return string(text), nil
}

func mask(value string) string {
	sum := sha256.Sum256([]byte(value))
	return "•••" + hex.EncodeToString(sum[:2])
}

// masked copies a tree with its texts, not its keys, masked.
func masked(value any, replacer *strings.Replacer) any {
	switch v := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(v))
		for key, entry := range v {
			copied[key] = masked(entry, replacer)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, entry := range v {
			copied[i] = masked(entry, replacer)
		}
		return copied
	case string:
		return replacer.Replace(v)
	case interface{ Int64() (int64, error) }: // a JSON number
		return plain(v)
	}
	return value
}

// secretName is the name of a variable that holds a secret. The other variables of
// .env are versions, ports and names that people have to read.
var secretName = regexp.MustCompile(`(?i)pass|secret|token|key|cred|auth|dsn`)

// secretsOf collects what must not leave the host: the values of the unit's
// environment, what is in its secrets, and the variables that are named like one.
func secretsOf(m model) []agent.Secret {
	found := map[string]bool{}
	add := func(value string) {
		if len([]rune(value)) >= minSecret {
			found[value] = true
		}
	}
	for name, value := range m.project.Environment { // it may be used outside of any environment: in a command, a label
		if secretName.MatchString(name) {
			add(value)
		}
	}
	for _, name := range m.unit {
		s := m.project.Services[name]
		for _, value := range s.Environment {
			if value != nil {
				add(*value)
			}
		}
		for _, used := range s.Secrets {
			add(contentOfSecret(m.project.Secrets[used.Source], m.project.Environment))
		}
		for _, used := range s.Configs {
			if config := m.project.Configs[used.Source]; config.Environment != "" {
				add(config.Content)
			}
		}
	}
	var secrets []agent.Secret
	for _, value := range slices.Sorted(keysOf(found)) {
		secrets = append(secrets, agent.Secret(value))
	}
	return secrets
}

func contentOfSecret(s types.SecretConfig, env types.Mapping) string {
	switch {
	case s.Content != "":
		return s.Content
	case s.Environment != "":
		return env[s.Environment]
	case s.File == "":
		return ""
	}
	if info, err := os.Stat(s.File); err != nil || info.IsDir() || info.Size() > maxSecret {
		return ""
	}
	data, err := os.ReadFile(s.File)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
