package compose

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// configHashVersion is raised when the canonical form changes. A raise makes
// every service differ once, so it has to be worth it.
const configHashVersion = "rollback-agent compose config 1\n"

// configHash is the identity of a canonical form.
func configHash(form map[string]any) (string, error) {
	var text bytes.Buffer
	text.WriteString(configHashVersion)
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(form); err != nil {
		return "", fmt.Errorf("hashing the model: %w", err)
	}
	sum := sha256.Sum256(text.Bytes())
	return "1:" + hex.EncodeToString(sum[:]), nil
}

// canonical is the unit's model in a form that does not depend on the order of
// keys, comments, the names of files on disk, images' digests, builds, or on the
// version of the SDK beyond the names of its keys. Contents of configs and
// secrets count by hash. Nothing empty is in it.
func canonical(m model) (map[string]any, error) {
	services := map[string]any{}
	var used resources
	for _, name := range m.unit {
		s := m.project.Services[name]
		tree, err := toTree(s)
		if err != nil {
			return nil, fmt.Errorf("marshalling compose service %q: %w", name, err)
		}
		for _, key := range []string{"build", "develop", "env_file", "label_file", "extends", "pull_policy", "pull_refresh_after", "profiles", "scale"} {
			delete(tree, key)
		}
		tree["image"] = withoutDigest(s.Image)
		tree["replicas"] = json.Number(fmt.Sprint(s.GetScale()))
		if deploy, ok := tree["deploy"].(map[string]any); ok {
			delete(deploy, "replicas")
		}
		services[name] = tree
		used.add(s)
	}
	form := map[string]any{"name": m.project.Name, "services": services}
	if err := used.into(form, m.project); err != nil {
		return nil, err
	}
	if len(m.oneShots) > 0 {
		form["one_shots"] = m.oneShots
	}
	return withoutEmpty(form).(map[string]any), nil
}

// resources are what the services of a unit use of the project.
type resources struct{ networks, volumes, secrets, configs []string }

func (r *resources) add(s types.ServiceConfig) {
	for name := range s.Networks {
		r.networks = append(r.networks, name)
	}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			r.volumes = append(r.volumes, v.Source)
		}
	}
	for _, secret := range s.Secrets {
		r.secrets = append(r.secrets, secret.Source)
	}
	for _, config := range s.Configs {
		r.configs = append(r.configs, config.Source)
	}
}

// into adds the resources that are used, file contents as hashes.
func (r *resources) into(form map[string]any, project *types.Project) error {
	networks, volumes, secrets, configs := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	var err error
	for _, name := range r.networks {
		if networks[name], err = toTree(project.Networks[name]); err != nil {
			return fmt.Errorf("marshalling network %q: %w", name, err)
		}
	}
	for _, name := range r.volumes {
		if volumes[name], err = toTree(project.Volumes[name]); err != nil {
			return fmt.Errorf("marshalling volume %q: %w", name, err)
		}
	}
	for _, name := range r.secrets {
		secrets[name] = fileObject(types.FileObjectConfig(project.Secrets[name]))
	}
	for _, name := range r.configs {
		configs[name] = fileObject(types.FileObjectConfig(project.Configs[name]))
	}
	form["networks"], form["volumes"], form["secrets"], form["configs"] = networks, volumes, secrets, configs
	return nil
}

// fileObject describes a config or secret by the hash of what is in it.
func fileObject(o types.FileObjectConfig) map[string]any {
	described := map[string]any{"name": o.Name, "external": bool(o.External)}
	switch {
	case o.File != "":
		described["content"] = contentOf(o.File)
	case o.Content != "":
		described["content"] = digestOf(strings.NewReader(o.Content))
	case o.Environment != "":
		described["environment"] = o.Environment
	}
	return described
}

// contentOf is the hash of a file, or of the files of a directory. What cannot
// be read counts as such: the engine may be able to.
func contentOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "unreadable"
	}
	if !info.IsDir() {
		file, err := os.Open(path)
		if err != nil {
			return "unreadable"
		}
		defer file.Close()
		return digestOf(file)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "unreadable"
	}
	var lines []string
	for _, entry := range entries {
		lines = append(lines, entry.Name()+" "+contentOf(filepath.Join(path, entry.Name())))
	}
	slices.Sort(lines)
	return digestOf(strings.NewReader(strings.Join(lines, "\n")))
}

func digestOf(r io.Reader) string {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "unreadable"
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// toTree is a value as JSON has it, numbers as they are written.
func toTree(value any) (map[string]any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree map[string]any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	if tree == nil {
		tree = map[string]any{}
	}
	return tree, nil
}

// withoutEmpty drops nulls, empty strings, false, empty lists and maps inside
// maps, so that a default that a later SDK spells out changes nothing. A null or
// an empty text in an environment means something and stays.
func withoutEmpty(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, entry := range v {
			if key == "environment" {
				continue
			}
			if v[key] = withoutEmpty(entry); isEmpty(v[key]) {
				delete(v, key)
			}
		}
	case []any:
		for i, entry := range v {
			v[i] = withoutEmpty(entry)
		}
	}
	return value
}

func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
