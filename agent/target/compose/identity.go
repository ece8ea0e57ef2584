package compose

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	composecli "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// identity is who a service is for Compose.
type identity struct {
	project   string   // "" until the files say
	directory string   // working directory
	files     []string // compose files, in override order
	envFiles  []string // as given; none is .env beside the project
	unit      []string // compose services; nil until the files were loaded once
	oneShots  []string
	warnings  []string
	config    agent.Compose // what it was derived from
	// mixed are the services into whose config hash Compose mixes other
	// containers' IDs.
	mixed map[string]types.ServiceConfig
}

// of adds what a loaded model says.
func (id identity) of(m model) identity {
	id.project, id.unit, id.oneShots = m.project.Name, m.unit, m.oneShots
	id.mixed = map[string]types.ServiceConfig{}
	for _, name := range m.unit {
		if s := m.project.Services[name]; hashesOthers(s) {
			id.mixed[name] = s
		}
	}
	return id
}

// matches tells whether the identity belongs to the service as configured now.
func (id identity) matches(svc agent.Service) bool {
	a, b := id.config, svc.Compose
	return a.Project == b.Project && a.ProjectDirectory == b.ProjectDirectory && a.DockerHost == b.DockerHost &&
		slices.Equal(a.Files, b.Files) && slices.Equal(a.Services, b.Services)
}

// configured is the identity as the config alone gives it. A single file with
// one of Compose's own names brings its override file along, as Compose would.
func configured(svc agent.Service) (identity, error) {
	if len(svc.Compose.Files) == 0 {
		return identity{}, agent.Permanent(fmt.Errorf("service %q has no compose file", svc.Name))
	}
	id := identity{
		project:   svc.Compose.Project,
		directory: svc.Compose.ProjectDirectory,
		files:     slices.Clone(svc.Compose.Files),
		envFiles:  slices.Clone(svc.Compose.EnvFiles),
		config:    svc.Compose,
	}
	if id.directory == "" {
		id.directory = filepath.Dir(id.files[0])
	}
	if len(id.files) == 1 && isDefaultName(id.files[0]) {
		for _, override := range overridesOf(id.files[0]) {
			if exists(override) {
				id.files = append(id.files, override)
				break
			}
		}
	}
	return id, nil
}

func isDefaultName(file string) bool {
	return slices.Contains(composecli.DefaultFileNames, filepath.Base(file))
}

// overridesOf names the override files that Compose looks for beside a file that
// it found by itself.
func overridesOf(file string) []string {
	var names []string
	for _, name := range composecli.DefaultOverrideFileNames {
		names = append(names, filepath.Join(filepath.Dir(file), name))
	}
	return names
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// identify settles who a service is. Where containers of its file exist, their
// labels know better than the config: a wrong name would start a second project.
func (t *Target) identify(ctx context.Context, e *engine, svc agent.Service) (identity, error) {
	id, err := configured(svc)
	if err != nil {
		return id, err
	}
	labels, err := e.projectsOf(ctx, svc.Compose.Files[0])
	if err != nil {
		return id, err
	}
	found, err := choose(svc, id, labels)
	if err != nil || found == nil {
		return id, err
	}
	id.project = found.project
	return id.adopt(svc, *found)
}

// labelled is what the containers of one project say about it.
type labelled struct {
	project, directory string
	files, envFiles    []string
}

// projectsOf lists the projects with containers that were made of a file.
func (e *engine) projectsOf(ctx context.Context, file string) ([]labelled, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", api.ConfigFilesLabel),
	})
	if err != nil {
		return nil, e.wrap(ctx, err, "looking for containers of %s", file)
	}
	info, _ := os.Stat(file)
	newest := map[string]container.Summary{}
	for _, c := range list.Items {
		project := c.Labels[api.ProjectLabel]
		if c.Labels[api.OneoffLabel] == "True" || !namesFile(strings.Split(c.Labels[api.ConfigFilesLabel], ","), file, info) {
			continue
		}
		if c.Created >= newest[project].Created {
			newest[project] = c
		}
	}
	var found []labelled
	for _, project := range slices.Sorted(maps.Keys(newest)) {
		found = append(found, readLabels(newest[project].Labels))
	}
	return found, nil
}

// namesFile tells whether a file is in a list, under any of its names: the path
// that somebody deployed by may be a link.
func namesFile(files []string, file string, info os.FileInfo) bool {
	return slices.ContainsFunc(files, func(f string) bool {
		if f == file {
			return true
		}
		if info == nil || filepath.Base(f) != filepath.Base(file) {
			return false
		}
		other, err := os.Stat(f)
		return err == nil && os.SameFile(info, other)
	})
}

func sameFiles(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool {
		info, err := os.Stat(y)
		return x == y || err == nil && namesFile([]string{x}, y, info)
	})
}

func readLabels(labels map[string]string) labelled {
	l := labelled{
		project:   labels[api.ProjectLabel],
		directory: labels[api.WorkingDirLabel],
		files:     strings.Split(labels[api.ConfigFilesLabel], ","),
	}
	if env := labels[api.EnvironmentFileLabel]; env != "" {
		l.envFiles = strings.Split(env, ",")
	}
	return l
}

// choose picks the project that a service is, or none when nothing of it exists.
func choose(svc agent.Service, id identity, found []labelled) (*labelled, error) {
	if len(found) == 0 {
		return nil, nil
	}
	names := make([]string, len(found))
	for i, l := range found {
		names[i] = l.project
		if l.project == id.project {
			return &found[i], nil
		}
	}
	if id.project != "" {
		return nil, agent.WithHint(agent.Permanent(fmt.Errorf(
			"service %q is configured as project %q, but the containers of %s belong to project %s",
			svc.Name, id.project, svc.Compose.Files[0], quoted(names))),
			"set project to the name in use, or remove those containers: a second project would start beside the first")
	}
	if len(found) > 1 {
		return nil, agent.WithHint(agent.Permanent(fmt.Errorf(
			"containers of %s belong to several projects: %s", svc.Compose.Files[0], quoted(names))),
			"set project to the one that this service is")
	}
	return &found[0], nil
}

// adopt takes directory and files over from the labels, where the config leaves
// them open.
func (id identity) adopt(svc agent.Service, l labelled) (identity, error) {
	if svc.Compose.ProjectDirectory != "" && l.directory != "" && l.directory != svc.Compose.ProjectDirectory {
		return id, agent.WithHint(agent.Permanent(fmt.Errorf(
			"service %q is configured with the project directory %s, but its containers were made in %s",
			svc.Name, svc.Compose.ProjectDirectory, l.directory)),
			"relative paths would change their meaning; set project_directory to the one in use, or recreate by hand first")
	}
	if l.directory != "" {
		id.directory = l.directory
	}
	if len(id.envFiles) == 0 && !slices.ContainsFunc(l.envFiles, func(f string) bool { return !exists(f) }) {
		id.envFiles = l.envFiles
	}
	if sameFiles(l.files, id.files) {
		id.files = l.files
		return id, nil
	}
	if len(svc.Compose.Files) == 1 && l.files[0] == svc.Compose.Files[0] && !isDefaultName(l.files[0]) {
		kept := slices.DeleteFunc(slices.Clone(l.files), func(f string) bool { return !exists(f) && f != l.files[0] })
		if len(kept) > 1 {
			id.files = kept
			return id, nil
		}
	}
	id.warnings = append(id.warnings, fmt.Sprintf("its containers were made of %s, the config names %s",
		strings.Join(l.files, ", "), strings.Join(id.files, ", ")))
	return id, nil
}

func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}
