package compose

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"rollback-agent/agent"
)

func TestFilesAreAllThatCount(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"compose.yaml": `
include:
  - sub/one.yaml
  - path: [sub/two.yaml, sub/two.override.yaml]
    project_directory: ./elsewhere
    env_file: ${WHERE}/two.env
services:
  web:
    extends: {file: base/base.yaml, service: base}
    image: app
    env_file: [a.env, {path: optional.env, required: false}]
    label_file: labels
    configs: [c]
    secrets: [s]
configs: {c: {file: c.txt}}
secrets: {s: {file: s.txt}}
`,
		".env": "WHERE=envs\n", "a.env": "A=1", "labels": "l=1", "c.txt": "c", "s.txt": "s", "envs/two.env": "DEEP=deeper\n",
		"base/base.yaml": "services: {base: {image: app, env_file: b.env, extends: {file: deeper/deep.yaml, service: deep}}}", "base/b.env": "B=1",
		"base/deeper/deep.yaml": "services: {deep: {image: app}}",
		"sub/one.yaml":          "services: {one: {image: app}}", "sub/two.yaml": "include: [\"${DEEP}.yaml\"]\nservices: {two: {image: app}}", "sub/two.override.yaml": "services: {two: {image: app2}}",
		"elsewhere/deeper.yaml": "services: {three: {image: app}}",
	})
	m, err := loadDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range m.files {
		name, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, name)
	}
	want := []string{
		".env", "a.env", "base/b.env", "base/base.yaml", "base/deeper/deep.yaml", "c.txt", "compose.yaml",
		"compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml",
		"elsewhere/.env", "elsewhere/deeper.yaml", "envs/two.env", "labels", "optional.env", "s.txt", "sub/.env", "sub/one.yaml", "sub/two.override.yaml", "sub/two.yaml",
	}
	slices.Sort(want)
	slices.Sort(got)
	if missing := slices.DeleteFunc(slices.Clone(want), func(f string) bool { return slices.Contains(got, f) }); len(missing) > 0 {
		t.Errorf("got %v, lacking %v", got, missing)
	}
	content := slices.DeleteFunc(slices.Clone(m.files), func(f string) bool { return slices.Contains(m.sources, f) })
	if want := []string{filepath.Join(dir, "c.txt"), filepath.Join(dir, "s.txt")}; !slices.Equal(content, want) || len(m.sources)+2 != len(m.files) {
		t.Errorf("got %v as content, want %v: the others say what runs", content, want)
	}
	opened := filesOpened(t, dir)
	if unlisted := slices.DeleteFunc(opened, func(f string) bool { return slices.Contains(got, f) }); len(unlisted) > 0 {
		t.Errorf("the loader opens %v, which are not listed", unlisted)
	}
}

// filesOpened returns the files below dir that a load of it opens, as the kernel
// sees it.
func filesOpened(t *testing.T, dir string) []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatalf("watching for opened files: %v", err)
	}
	defer unix.Close(fd)
	dirs := map[int32]string{}
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		watch, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
		dirs[int32(watch)] = path
		return err
	})
	if err != nil {
		t.Fatalf("watching for opened files: %v", err)
	}
	if _, err := loadDir(t, dir); err != nil {
		t.Fatal(err)
	}
	return openedNames(t, fd, dirs, dir)
}

func openedNames(t *testing.T, fd int, dirs map[int32]string, root string) []string {
	t.Helper()
	buffer := make([]byte, 64<<10)
	n, err := unix.Read(fd, buffer)
	if err != nil {
		t.Fatalf("reading which files were opened: %v", err)
	}
	found := map[string]bool{}
	for offset := 0; offset < n; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&buffer[offset]))
		start := offset + unix.SizeofInotifyEvent
		offset = start + int(event.Len)
		name := strings.TrimRight(string(buffer[start:offset]), "\x00")
		if event.Mask&unix.IN_ISDIR == 0 && name != "" {
			rel, err := filepath.Rel(root, filepath.Join(dirs[event.Wd], name))
			if err != nil {
				t.Fatal(err)
			}
			found[rel] = true
		}
	}
	if !found["compose.yaml"] {
		t.Fatalf("got %v, want the compose file at least", found)
	}
	return slices.Sorted(maps.Keys(found))
}

func TestLoadFaultsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		services []string
		message  string
		hint     string
	}{
		"missing file":      {map[string]string{}, nil, "compose.yaml", "does not exist"},
		"no YAML":           {map[string]string{"compose.yaml": "services: ["}, nil, "compose.yaml", ""},
		"unknown key":       {map[string]string{"compose.yaml": "services: {web: {image: app, imagine: x}}"}, nil, "imagine", ""},
		"unknown service":   {map[string]string{"compose.yaml": "services: {backend: {image: app}}"}, []string{"backedn"}, `"backedn"`, `did you mean "backend"?`},
		"far off service":   {map[string]string{"compose.yaml": "services: {web: {image: app}}"}, []string{"database"}, `"database"`, "the files have web"},
		"build only":        {map[string]string{"compose.yaml": "services: {web: {build: .}}"}, []string{"web"}, "no image", "does not build"},
		"nothing but build": {map[string]string{"compose.yaml": "services: {web: {build: .}}"}, nil, "no compose service with an image", "does not build"},
		"remote include":    {map[string]string{"compose.yaml": "include: ['oci://registry/app:1']\nservices: {web: {image: app}}"}, nil, "remote", "copy"},
		"git include":       {map[string]string{"compose.yaml": "include: ['https://github.com/acme/app.git']\nservices: {web: {image: app}}"}, nil, "remote", "copy"},
		"remote extends":    {map[string]string{"compose.yaml": "services: {web: {image: app, extends: {file: 'oci://registry/app:1', service: x}}}"}, nil, "remote", "copy"},
		"missing env_file":  {map[string]string{"compose.yaml": "services: {web: {image: app, env_file: gone.env}}"}, nil, "gone.env", ""},
		"required variable": {map[string]string{"compose.yaml": "services: {web: {image: 'app:${TAG:?set the tag}'}}"}, nil, "set the tag", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, c.files)
			svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{filepath.Join(dir, "compose.yaml")}, Services: c.services}}
			id, err := configured(svc)
			if err != nil {
				t.Fatal(err)
			}
			m, err := load(t.Context(), svc, id)
			if err == nil || !strings.Contains(err.Error(), c.message) || !strings.Contains(agent.Hint(err), c.hint) {
				t.Errorf("got %v, hint %q, want %q, hint %q", err, agent.Hint(err), c.message, c.hint)
			}
			if !slices.Contains(m.files, filepath.Join(dir, "compose.yaml")) {
				t.Errorf("got files %v, want the compose file among them", m.files)
			}
			if name == "missing env_file" && !slices.Contains(m.files, filepath.Join(dir, "gone.env")) {
				t.Errorf("got files %v, want the missing one among them", m.files)
			}
		})
	}
}

func TestNamesThatTheFilesDoNotHave(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"compose.yaml": "services: {web: {image: app}, migrate: {image: app}, debug: {image: app, profiles: [debug, tools]}}"})
	for name, c := range map[string]struct {
		oneShots, profiles []string
		fault, hint        string
		warnings           []string
	}{
		"nothing wrong":          {oneShots: []string{"migrate"}, profiles: []string{"tools"}},
		"every profile":          {profiles: []string{"*"}},
		"one-shot that is off":   {oneShots: []string{"debug"}},
		"misspelt one-shot":      {oneShots: []string{"migrate", "migrat"}, fault: `one_shots of service "web" names the compose service "migrat", which its files do not have`, hint: `did you mean "migrate"?`},
		"far off one-shot":       {oneShots: []string{"backup-of-all"}, fault: `"backup-of-all"`, hint: "the files have debug, migrate, web"},
		"misspelt profile":       {profiles: []string{"debug", "tool"}, warnings: []string{`no compose service has the profile "tool": did you mean "tools"?`}},
		"far off profile":        {profiles: []string{"production"}, warnings: []string{`no compose service has the profile "production"`}},
		"one-shot and a profile": {oneShots: []string{"wbe"}, profiles: []string{"x-ray-vision"}, fault: `"wbe"`, hint: `"web"`, warnings: []string{`no compose service has the profile "x-ray-vision"`}},
	} {
		t.Run(name, func(t *testing.T) {
			svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{filepath.Join(dir, "compose.yaml")}, Project: "p", OneShots: c.oneShots, Profiles: c.profiles}}
			warnings, err := offline(t.Context(), svc)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !agent.IsPermanent(err) || !strings.Contains(err.Error(), c.fault) || !strings.Contains(agent.Hint(err), c.hint)) {
				t.Errorf("got %v, hint %q, want %q, hint %q, for good", err, agent.Hint(err), c.fault, c.hint)
			}
			if !slices.Equal(warnings, c.warnings) {
				t.Errorf("got warnings %q, want %q", warnings, c.warnings)
			}
			faults, err := new(Target).Check(t.Context(), svc)
			reported := len(c.warnings)
			if c.fault != "" {
				reported++
			}
			if err != nil || len(faults) != reported {
				t.Errorf("got %v, %v of a check, want %d", faults, err, reported)
			}
		})
	}
}

func TestUnsetVariablesAreToldNotTaken(t *testing.T) {
	t.Setenv("HOSTILE", "from the daemon")
	m, err := loadFiles(t, map[string]string{
		"compose.yaml": "services: {web: {image: app, labels: {a: '${HOSTILE}', b: '${WITH:-default}', c: '$$NOT', d: '${PWD}', e: '${FROM}'}}}",
		".env":         "FROM=file",
	})
	if err != nil {
		t.Fatal(err)
	}
	labels := m.project.Services["web"].Labels
	if labels["a"] != "" || labels["b"] != "default" || labels["d"] != m.project.WorkingDir || labels["e"] != "file" {
		t.Errorf("got labels %v", labels)
	}
	if len(m.warnings) != 1 || !strings.Contains(m.warnings[0], "HOSTILE") {
		t.Errorf("got warnings %q, want one about HOSTILE", m.warnings)
	}
}
