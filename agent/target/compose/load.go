package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	composecli "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/remote"

	"rollback-agent/agent"
)

// model is a loaded project and the part of it that is the service.
type model struct {
	project  *types.Project
	unit     []string // compose services, sorted
	oneShots []string
	envFiles []string
	files    []string // every file that was read, or would be if it existed
	sources  []string // those of them that say what runs, not what it works with
	warnings []string
	fault    error // why it must not be deployed, although it is known who the service is
	// overridden is what the files name where something else takes its place, by
	// compose service.
	overridden map[string]string
}

// load reads the compose files of an identity into a model. The files of the
// model are filled in on an error, too.
func load(ctx context.Context, svc agent.Service, id identity) (model, error) {
	m := model{envFiles: id.envFiles, warnings: slices.Clone(id.warnings)}
	env, envErr := environment(id)
	m.sources = filesOf(id, env)
	m.files = m.sources
	for _, file := range id.files {
		if _, err := os.Stat(file); err != nil {
			return m, missing(svc, file, err)
		}
	}
	if envErr != nil {
		return m, fmt.Errorf("reading the environment of service %q: %w", svc.Name, envErr)
	}
	unset := &unsetVariables{}
	options, err := projectOptions(svc, id, env, unset)
	if err != nil {
		return m, fmt.Errorf("loading the compose files of service %q: %w", svc.Name, err)
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return m, agent.WithHint(fmt.Errorf("loading %s: %w", strings.Join(id.files, ", "), withoutQuotes(err, besidesModels(m.files))), cmp.Or(agent.Hint(err), "mend the file; until then nothing is touched"))
	}
	m.sources = merged(m.sources, sourcesOfProject(project))
	m.files = merged(m.sources, contentsOfProject(project))
	m.warnings = append(m.warnings, unset.warnings()...)
	return m, m.complete(svc, project)
}

// complete resolves what was left open until the files were known, and picks the
// unit.
func (m *model) complete(svc agent.Service, project *types.Project) error {
	if len(svc.Compose.Services) > 0 {
		enabled, err := project.WithServicesEnabled(known(project, svc.Compose.Services)...)
		if err != nil {
			return fmt.Errorf("enabling the compose services of service %q: %w", svc.Name, err)
		}
		project = enabled
	}
	envFiles := envFilesOf(project)
	project, err := project.WithServicesEnvironmentResolved(true)
	if err != nil {
		return fmt.Errorf("resolving the environment of service %q: %w", svc.Name, withoutQuotes(err, envFiles))
	}
	label(project, m.envFiles)
	m.project = project
	if m.unit, err = m.unitOf(svc); err != nil {
		return err
	}
	m.oneShots = oneShotsOf(project, m.unit, svc.Compose.OneShots)
	m.fault = strangeOneShot(svc, project.AllServices())
	m.warnings = append(m.warnings, strangeProfiles(svc.Compose.Profiles, project.AllServices())...)
	return nil
}

func known(project *types.Project, names []string) []string {
	all := project.AllServices()
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := all[n]; return !ok })
}

func missing(svc agent.Service, file string, err error) error {
	err = fmt.Errorf("reading the compose file of service %q: %w", svc.Name, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return agent.WithHint(err, "compose_file names a file that does not exist: "+file)
	case errors.Is(err, fs.ErrPermission):
		return agent.WithHint(err, "the agent may not read "+file)
	}
	return err
}

// environment is what the files are interpolated with: the env files, and the
// project directory as PWD. Nothing of this process.
func environment(id identity) (types.Mapping, error) {
	env := types.Mapping{"PWD": id.directory}
	files := id.envFiles
	if len(files) == 0 {
		dotEnv := filepath.Join(id.directory, ".env")
		if info, err := os.Stat(dotEnv); err != nil || info.IsDir() {
			return env, nil
		}
		files = []string{dotEnv}
	}
	options := composecli.ProjectOptions{Environment: env, EnvFiles: files}
	err := composecli.WithDotEnv(&options)
	return options.Environment, withoutQuotes(err, files)
}

func projectOptions(svc agent.Service, id identity, env types.Mapping, unset *unsetVariables) (*composecli.ProjectOptions, error) {
	return composecli.NewProjectOptions(slices.Clone(id.files),
		composecli.WithWorkingDirectory(id.directory),
		func(o *composecli.ProjectOptions) error {
			o.Environment = env.Clone()
			return nil
		},
		composecli.WithResourceLoader(newNoRemote()),
		composecli.WithDefaultProfiles(svc.Compose.Profiles...),
		composecli.WithName(id.project),
		composecli.WithoutEnvironmentResolution,
		composecli.WithLoadOptions(unset.watch),
	)
}

// label puts on every service what its containers are labelled with, as the
// command line does.
func label(project *types.Project, envFiles []string) {
	put := func(services types.Services) {
		for name, s := range services {
			s.CustomLabels = labelsOf(project, name, envFiles)
			services[name] = s
		}
	}
	put(project.Services)
	put(project.DisabledServices)
}

func labelsOf(project *types.Project, name string, envFiles []string) types.Labels {
	labels := types.Labels{
		api.ProjectLabel:     project.Name,
		api.ServiceLabel:     name,
		api.VersionLabel:     api.ComposeVersion,
		api.WorkingDirLabel:  project.WorkingDir,
		api.ConfigFilesLabel: strings.Join(project.ComposeFiles, ","),
		api.OneoffLabel:      "False",
	}
	if len(envFiles) > 0 {
		labels[api.EnvironmentFileLabel] = strings.Join(envFiles, ",")
	}
	return labels
}

// noRemote refuses what the command line would download: whoever can change the
// far end could change this host.
type noRemote struct{ loaders []loader.ResourceLoader }

func newNoRemote() noRemote {
	return noRemote{[]loader.ResourceLoader{
		remote.NewGitRemoteLoader(nil, true),
		remote.NewOCIRemoteLoader(nil, true, api.OCIOptions{}),
	}}
}

func (n noRemote) Accept(path string) bool {
	return slices.ContainsFunc(n.loaders, func(l loader.ResourceLoader) bool { return l.Accept(path) })
}

func (n noRemote) Load(_ context.Context, path string) (string, error) {
	return "", agent.WithHint(agent.Permanent(fmt.Errorf("%s is remote: remote files are refused", path)),
		"copy it to this host and include the copy")
}

func (n noRemote) Dir(path string) string { return path }

// unsetVariables notes which variables the files use and nobody sets.
type unsetVariables struct {
	mu    sync.Mutex
	names map[string]bool
}

// watch makes the loader's substitution report its look-ups. Variables with a
// default are looked up by the default's own function and are no concern here.
func (u *unsetVariables) watch(o *loader.Options) {
	if o.Interpolate == nil { // only the paths of the files are looked at yet
		return
	}
	o.Interpolate.Substitute = func(text string, mapping template.Mapping) (string, error) {
		return template.SubstituteWithOptions(text, mapping, template.WithReplacementFunction(u.replace), template.WithoutLogging)
	}
}

func (u *unsetVariables) replace(text string, mapping template.Mapping, config *template.Config) (string, error) {
	value, applied, err := template.DefaultReplacementAppliedFunc(text, mapping, config)
	if name, plain := variableName(text); err == nil && !applied && plain {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.names == nil {
			u.names = map[string]bool{}
		}
		u.names[name] = true
	}
	return value, err
}

// variableName returns NAME of $NAME and ${NAME}.
func variableName(text string) (string, bool) {
	name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(text, "$"), "{"), "}")
	return name, name != "" && !strings.ContainsAny(name, "${}:-+?")
}

func (u *unsetVariables) warnings() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(u.names)) {
		list = append(list, fmt.Sprintf("the variable %s is not set; it counts as empty", name))
	}
	return list
}
