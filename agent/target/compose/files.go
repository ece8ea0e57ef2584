package compose

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// walk follows the files as the loader does, which reports neither nested
// includes nor their environment. What it cannot read it lists all the same:
// mending it must be noticed.
type walk struct {
	found []string
	seen  map[string]bool // listed
	read  map[string]bool // followed
}

// filesOf lists every file that decides what an identity's model is, without
// loading it: compose files, the override file that may appear, env files, .env
// even when absent, includes and extended files.
func filesOf(id identity, env types.Mapping) []string {
	w := &walk{seen: map[string]bool{}, read: map[string]bool{}}
	if len(id.config.Files) == 1 && isDefaultName(id.config.Files[0]) {
		w.add(overridesOf(id.config.Files[0])...)
	}
	if len(id.envFiles) == 0 {
		w.add(filepath.Join(id.directory, ".env"))
	}
	w.add(id.envFiles...)
	w.add(id.config.Files...)
	for _, file := range id.files {
		w.compose(file, id.directory, env)
	}
	slices.Sort(w.found)
	return w.found
}

// sourcesOfProject lists what the services of a loaded project are made of, env
// files that are missing and not required included.
func sourcesOfProject(project *types.Project) []string {
	w := &walk{seen: map[string]bool{}}
	for _, s := range project.AllServices() {
		for _, env := range s.EnvFiles {
			w.add(env.Path)
		}
		for _, hook := range s.PreStart {
			for _, env := range hook.EnvFiles {
				w.add(env.Path)
			}
			w.add(hook.LabelFiles...)
		}
		w.add(s.LabelFiles...)
	}
	return w.found
}

// contentsOfProject lists the files that a loaded project hands to its containers:
// they belong to the applications.
func contentsOfProject(project *types.Project) []string {
	w := &walk{seen: map[string]bool{}}
	for _, s := range project.AllServices() {
		if s.CredentialSpec != nil {
			w.add(s.CredentialSpec.File)
		}
	}
	for _, c := range project.Configs {
		w.add(c.File)
	}
	for _, s := range project.Secrets {
		w.add(s.File)
	}
	return w.found
}

// merged is the sorted union of two lists.
func merged(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func (w *walk) add(files ...string) {
	for _, file := range files {
		if file != "" && !w.seen[file] {
			w.seen[file] = true
			w.found = append(w.found, file)
		}
	}
}

// compose lists a compose file and what it leads to. dir is what its paths are
// relative to.
func (w *walk) compose(file, dir string, env types.Mapping) {
	if w.read[file] {
		return
	}
	w.read[file] = true
	w.add(file)
	for _, doc := range documents(file) {
		for _, entry := range list(doc["include"]) {
			w.include(entry, dir, env)
		}
		w.services(doc, dir, env)
	}
}

func (w *walk) include(entry any, dir string, env types.Mapping) {
	fields, ok := entry.(map[string]any)
	if !ok {
		fields = map[string]any{"path": entry}
	}
	paths := texts(fields["path"], env)
	if len(paths) == 0 {
		return
	}
	for i, path := range paths {
		paths[i] = absolute(path, dir)
	}
	inner := filepath.Dir(paths[0])
	if own := texts(fields["project_directory"], env); len(own) > 0 {
		inner = absolute(own[0], dir)
	}
	envFiles := texts(fields["env_file"], env)
	for i, file := range envFiles {
		envFiles[i] = absolute(file, dir)
	}
	if len(envFiles) == 0 {
		envFiles = []string{filepath.Join(inner, ".env")}
	}
	w.add(envFiles...)
	innerEnv := env.Clone()
	for _, file := range envFiles {
		if values, err := dotenv.GetEnvFromFile(env, []string{file}); err == nil {
			innerEnv.Merge(values)
		}
	}
	for _, path := range paths {
		w.compose(path, inner, innerEnv)
	}
}

// services lists what the services of one document extend, and the env and label
// files that they name.
func (w *walk) services(doc map[string]any, dir string, env types.Mapping) {
	services, _ := doc["services"].(map[string]any)
	for _, value := range services {
		service, _ := value.(map[string]any)
		for _, key := range []string{"env_file", "label_file"} {
			for _, entry := range list(service[key]) {
				if fields, ok := entry.(map[string]any); ok {
					entry = fields["path"]
				}
				for _, path := range texts(entry, env) {
					w.add(absolute(path, dir))
				}
			}
		}
		extends, _ := service["extends"].(map[string]any)
		for _, path := range texts(extends["file"], env) {
			w.extended(absolute(path, dir), env)
		}
	}
}

// extended lists a file that a service extends. Its own paths are relative to
// itself, and its includes are not followed.
func (w *walk) extended(file string, env types.Mapping) {
	if w.read["extended "+file] {
		return
	}
	w.read["extended "+file] = true
	w.add(file)
	for _, doc := range documents(file) {
		w.services(doc, filepath.Dir(file), env)
	}
}

// documents returns the YAML documents of a file, as far as they can be read.
func documents(file string) []map[string]any {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var docs []map[string]any
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc map[string]any
		if err := decoder.Decode(&doc); err != nil {
			return docs
		}
		docs = append(docs, doc)
	}
}

// list makes a list of a value that may stand alone.
func list(value any) []any {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{value}
}

// texts returns the interpolated strings of a value that is one or a list.
func texts(value any, env types.Mapping) []string {
	var found []string
	for _, entry := range list(value) {
		text, ok := entry.(string)
		if !ok {
			continue
		}
		lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
		if result, err := template.SubstituteWithOptions(text, lookup, template.WithoutLogging); err == nil && result != "" {
			found = append(found, result)
		}
	}
	return found
}

func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
