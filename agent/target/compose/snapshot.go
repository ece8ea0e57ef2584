package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"rollback-agent/agent"
)

// snapshotFormat is raised when a snapshot of the last format could not be read
// as this one. Older formats are read for ever.
const snapshotFormat = 1

// snapshot is a model as it is recorded: enough to run `up` again, with the same
// config hashes, when every file on disk is gone or different.
type snapshot struct {
	Name      string   `json:"name"`
	Directory string   `json:"directory"`
	Files     []string `json:"files"`
	EnvFiles  []string `json:"env_files,omitempty"`
	Profiles  []string `json:"profiles,omitempty"`
	Unit      []string `json:"unit"`
	OneShots  []string `json:"one_shots,omitempty"`
	Disabled  []string `json:"disabled,omitempty"` // services that profiles leave out

	Project json.RawMessage `json:"project"` // as compose-go marshals it
	Models  types.Models    `json:"models,omitempty"`
	// Environment has the few keys that Up itself reads.
	Environment map[string]string `json:"environment,omitempty"`
	// Secrets and Configs have contents that the loader resolved and that are
	// never marshalled.
	Secrets map[string]string `json:"secrets,omitempty"`
	Configs map[string]string `json:"configs,omitempty"`
	// Raw has environment values that are no UTF-8, which JSON cannot carry, by
	// service and key.
	Raw map[string]map[string][]byte `json:"raw,omitempty"`
}

// take writes a model into a snapshot.
func take(m model) (agent.Snapshot, error) {
	project := whole(m.project)
	marshalled, err := project.MarshalJSON()
	if err != nil {
		return agent.Snapshot{}, fmt.Errorf("marshalling project %q: %w", project.Name, err)
	}
	s := snapshot{
		Name:        project.Name,
		Directory:   project.WorkingDir,
		Files:       project.ComposeFiles,
		EnvFiles:    m.envFiles,
		Profiles:    project.Profiles,
		Unit:        m.unit,
		OneShots:    m.oneShots,
		Disabled:    m.project.DisabledServiceNames(),
		Project:     marshalled,
		Models:      project.Models,
		Environment: usedEnvironment(project),
		Secrets:     map[string]string{},
		Configs:     map[string]string{},
		Raw:         rawEnvironment(project),
	}
	for name, secret := range project.Secrets {
		s.Secrets[name] = secret.Content
	}
	for name, config := range project.Configs {
		s.Configs[name] = config.Content
	}
	data, err := json.Marshal(s)
	if err != nil {
		return agent.Snapshot{}, fmt.Errorf("writing the snapshot of project %q: %w", project.Name, err)
	}
	if len(data) > agent.MaxSnapshot {
		return agent.Snapshot{}, agent.Permanent(fmt.Errorf("the model of project %q is %d bytes, more than %d", project.Name, len(data), agent.MaxSnapshot))
	}
	return agent.Snapshot{Format: snapshotFormat, Data: data}, nil
}

// whole returns the project with disabled services put back in, and builds cut
// down to their context: a build is outside the hash, and its SSH keys cannot be
// marshalled.
func whole(project *types.Project) *types.Project {
	copied := *project
	copied.Services = types.Services{}
	maps.Copy(copied.Services, project.DisabledServices)
	maps.Copy(copied.Services, project.Services)
	for name, s := range copied.Services {
		if s.Build != nil {
			s.Build = &types.BuildConfig{Context: s.Build.Context}
			copied.Services[name] = s
		}
	}
	return &copied
}

func usedEnvironment(project *types.Project) map[string]string {
	used := []string{"DOCKER_DEFAULT_PLATFORM"}
	for _, secret := range project.Secrets {
		used = append(used, secret.Environment)
	}
	for _, config := range project.Configs {
		used = append(used, config.Environment)
	}
	env := map[string]string{}
	for _, key := range used {
		if value, ok := project.Environment[key]; ok && key != "" {
			env[key] = value
		}
	}
	return env
}

func rawEnvironment(project *types.Project) map[string]map[string][]byte {
	raw := map[string]map[string][]byte{}
	for name, s := range project.Services {
		for key, value := range s.Environment {
			if value == nil || utf8.ValidString(*value) {
				continue
			}
			if raw[name] == nil {
				raw[name] = map[string][]byte{}
			}
			raw[name][key] = []byte(*value)
		}
	}
	return raw
}

// restore reads the model back out of a release's snapshot. No file is read.
func restore(ctx context.Context, rel agent.Release) (model, error) {
	s, err := decode(rel.Snapshot)
	if err != nil {
		return model{}, agent.Permanent(fmt.Errorf("reading the snapshot of %s of service %q: %w", agent.ReleaseName(rel.Number), rel.Service, err))
	}
	project, err := s.project(ctx)
	if err != nil {
		return model{}, agent.Permanent(fmt.Errorf("restoring %s of service %q: %w", agent.ReleaseName(rel.Number), rel.Service, err))
	}
	return model{project: project, unit: s.Unit, oneShots: s.OneShots, envFiles: s.EnvFiles}, nil
}

func decode(recorded agent.Snapshot) (snapshot, error) {
	var s snapshot
	switch {
	case len(recorded.Data) == 0:
		return s, errors.New("there is none")
	case recorded.Format != snapshotFormat:
		return s, fmt.Errorf("format %d is unknown to this version", recorded.Format)
	}
	return s, json.Unmarshal(recorded.Data, &s)
}

func (s snapshot) project(ctx context.Context) (*types.Project, error) {
	tree, err := decodeTree(s.Project)
	if err != nil {
		return nil, err
	}
	delete(tree, "name")
	file := "snapshot"
	if len(s.Files) > 0 {
		file = s.Files[0]
	}
	project, err := loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir:  s.Directory,
		Environment: maps.Clone(s.Environment),
		ConfigFiles: []types.ConfigFile{{Filename: file, Config: tree}},
	}, s.exactly)
	if err != nil {
		return nil, err
	}
	return s.complete(project)
}

// exactly makes the loader change nothing: what was interpolated, extended,
// resolved and checked once must not be again.
func (s snapshot) exactly(o *loader.Options) {
	o.SetProjectName(s.Name, true)
	o.SkipValidation = true
	o.SkipInterpolation = true
	o.SkipNormalization = true
	o.SkipConsistencyCheck = true
	o.SkipExtends = true
	o.SkipInclude = true
	o.SkipResolveEnvironment = true
	o.SkipResolveLabels = true
	o.ResolvePaths = false
	o.Profiles = []string{"*"}
}

// complete puts back what the loader cannot know.
func (s snapshot) complete(project *types.Project) (*types.Project, error) {
	project.ComposeFiles = s.Files
	project.Profiles = s.Profiles
	project.Models = s.Models
	for name, values := range s.Raw {
		for key, value := range values {
			project.Services[name].Environment[key] = new(string(value))
		}
	}
	for name, secret := range project.Secrets {
		secret.Content = s.Secrets[name]
		project.Secrets[name] = secret
	}
	for name, config := range project.Configs {
		config.Content = s.Configs[name]
		project.Configs[name] = config
	}
	for _, name := range s.Disabled {
		if project.DisabledServices == nil {
			project.DisabledServices = types.Services{}
		}
		project.DisabledServices[name] = project.Services[name]
		delete(project.Services, name)
	}
	label(project, s.EnvFiles)
	if missing := slices.DeleteFunc(slices.Clone(s.Unit), func(n string) bool { _, ok := project.Services[n]; return ok }); len(missing) > 0 {
		return nil, fmt.Errorf("the snapshot lacks %s", strings.Join(missing, ", "))
	}
	return project, nil
}

// decodeTree decodes JSON with numbers as ints where they are, as the loader
// wants them.
func decodeTree(data []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree map[string]any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	return plain(tree).(map[string]any), nil
}

func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, entry := range v {
			v[key] = plain(entry)
		}
	case []any:
		for i, entry := range v {
			v[i] = plain(entry)
		}
	case json.Number:
		return plainNumber(v)
	}
	return value
}

func plainNumber(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return int(i)
	}
	if f, err := n.Float64(); err == nil {
		return f
	}
	return n.String()
}
