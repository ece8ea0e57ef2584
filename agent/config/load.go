package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"rollback-agent/agent"
)

// loader carries one pass over the files.
type loader struct {
	cfg     *Config
	top     faults
	owner   *trust
	base    agent.Service // what a service is before its own section is read
	set     places        // the keys of [defaults]
	entries []*entry
}

// entry is one [service.NAME] section.
type entry struct {
	svc    agent.Service
	header place
	own    places // the keys of the section itself
	set    places // the same, and those of [defaults]
	faults faults
}

func newLoader(path string) *loader {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	l := &loader{cfg: &Config{Path: path, Broken: map[string]Broken{}, where: map[string]places{}}, owner: newTrust()}
	l.defaults()
	return l
}

// defaults reads the defaults of the table as if they stood in a file beside the
// config, so that they go through the same readers.
func (l *loader) defaults() {
	doc, fault := parse(l.cfg.Path, []byte(defaultsTOML()))
	if fault != nil {
		l.top.list = append(l.top.list, *fault)
		return
	}
	service, _ := doc.root.sub("defaults")
	delete(doc.root.keys, "defaults")
	fill(rootKeys(), doc.root, l.cfg, &l.top)
	fill(serviceKeys(), service, &l.base, &l.top)
}

func (l *loader) main() {
	doc := l.open(l.cfg.Path)
	if doc == nil {
		l.glimpse()
		return
	}
	root := doc.root
	root.keys = maps.Clone(root.keys)
	delete(root.keys, "defaults")
	delete(root.keys, "service")
	fill(rootKeys(), root, l.cfg, &l.top)
	l.checkSlack(doc)
	l.readDefaults(doc)
	l.readServices(doc)
	for _, file := range l.includes(doc) {
		l.include(file)
	}
}

// topLevelPath is a line that sets where the agent keeps its things.
var topLevelPath = regexp.MustCompile(`^\s*(state_dir|socket)\s*=\s*"([^"\\]+)"\s*(#.*)?$`)

// glimpse reads where the agent keeps its things out of a file that is no TOML: its
// history and its socket are where they were before the file was broken.
func (l *loader) glimpse() {
	info, err := os.Stat(l.cfg.Path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return
	}
	text, err := os.ReadFile(l.cfg.Path)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "[") {
			return
		}
		m := topLevelPath.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		switch {
		case m == nil || !filepath.IsAbs(m[2]):
		case m[1] == "socket":
			l.cfg.Socket = m[2]
		default:
			l.cfg.StateDir = m[2]
		}
	}
}

// open checks who may write a file, and parses it.
func (l *loader) open(path string) *document {
	l.cfg.Files = append(l.cfg.Files, path)
	doc, fault := open(path)
	if fault != nil {
		l.top.list = append(l.top.list, *fault)
		return nil
	}
	for _, problem := range l.owner.config(path) {
		l.top.add(place{file: path}, strings.TrimPrefix(problem.Error(), path+" "), agent.Hint(problem))
	}
	return doc
}

func (l *loader) readDefaults(doc *document) {
	if _, ok := doc.root.keys["defaults"]; !ok {
		return
	}
	section, ok := doc.root.sub("defaults")
	if !ok {
		l.top.add(place{doc.path, doc.root.at("defaults")}, "defaults must be a section", "write [defaults] on a line of its own")
		return
	}
	l.set = fill(serviceKeys(), section, &l.base, &l.top)
}

// includes returns the files that the include patterns match, sorted.
func (l *loader) includes(doc *document) []string {
	at := place{file: doc.path, line: 0}
	if _, ok := doc.root.keys["include"]; ok {
		at.line = doc.root.at("include")
	}
	var files []string
	for _, pattern := range l.cfg.Include {
		matches, err := filepath.Glob(pattern)
		switch {
		case err != nil:
			l.top.add(at, fmt.Sprintf("include: %q is not a pattern", pattern), "close the [ or write it without")
		case len(matches) == 0 && !strings.ContainsAny(pattern, `*?[\`):
			l.top.add(at, fmt.Sprintf("include: there is no file %s", pattern), "make it, or remove it from include")
		}
		files = append(files, matches...)
		l.cfg.Files = append(l.cfg.Files, filepath.Dir(pattern))
	}
	slices.Sort(files)
	files = slices.Compact(files)
	return slices.DeleteFunc(files, func(file string) bool { return file == l.cfg.Path })
}

func (l *loader) include(path string) {
	doc := l.open(path)
	if doc == nil {
		return
	}
	for _, name := range doc.root.names() {
		if name != "service" {
			l.top.add(place{path, doc.root.at(name)}, fmt.Sprintf("%q cannot stand in an included file", name),
				"an included file holds [service.NAME] sections; everything else belongs in "+l.cfg.Path)
		}
	}
	l.readServices(doc)
}

func (l *loader) readServices(doc *document) {
	if _, ok := doc.root.keys["service"]; !ok {
		return
	}
	group, ok := doc.root.sub("service")
	if !ok {
		l.top.add(place{doc.path, doc.root.at("service")}, "service must be a section with a name", "write [service.NAME] on a line of its own")
		return
	}
	for _, name := range group.names() {
		l.readService(doc, group, name)
	}
}

var serviceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func (l *loader) readService(doc *document, group table, name string) {
	at := place{doc.path, group.at(name)}
	section, ok := group.sub(name)
	switch {
	case !ok:
		l.top.add(at, fmt.Sprintf("service.%s must be a section", name), "write [service.NAME] on a line of its own")
		return
	case !serviceName.MatchString(name):
		l.top.add(at, fmt.Sprintf("%q cannot be the name of a service", name), "up to 63 letters, digits, - _ and ., beginning with a letter or digit")
		return
	}
	if i := slices.IndexFunc(l.entries, func(e *entry) bool { return e.svc.Name == name }); i >= 0 {
		first := l.entries[i].header
		l.top.add(at, fmt.Sprintf("service %q is configured twice", name), fmt.Sprintf("the first is in %s:%d; remove or rename one", first.file, first.line))
		return
	}
	e := &entry{svc: l.base, header: at, faults: faults{service: name}}
	e.svc.Name = name
	e.own = fill(serviceKeys(), section, &e.svc, &e.faults)
	e.set = maps.Clone(l.set)
	if e.set == nil {
		e.set = places{}
	}
	maps.Copy(e.set, e.own)
	e.set[""] = at
	l.entries = append(l.entries, e)
}

// services checks what single keys cannot show: keys against each other, against
// the files they name, and services against each other.
func (l *loader) services() {
	for i, e := range l.entries {
		e.validate()
		e.conflict(l.entries[:i])
		l.settle(e)
	}
}

// settle files the service under the good or the broken ones.
func (l *loader) settle(e *entry) {
	l.cfg.where[e.svc.Name] = e.set
	mendable := !slices.ContainsFunc(e.faults.list, func(f agent.Fault) bool { return !f.Warning })
	list := append(e.faults.list, l.cfg.check(e.svc, l.owner)...)
	sortFaults(list)
	if !slices.ContainsFunc(list, func(f agent.Fault) bool { return !f.Warning }) {
		l.cfg.Services = append(l.cfg.Services, e.svc)
		l.cfg.Warnings = append(l.cfg.Warnings, list...)
		return
	}
	l.cfg.Broken[e.svc.Name] = Broken{Service: e.svc, Faults: list, Mendable: mendable}
}

func (l *loader) finish() (*Config, agent.Faults) {
	if l.cfg.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			l.top.add(place{file: l.cfg.Path}, "host: the name of this host cannot be read: "+reason(err), `set host = "…"`)
		}
		l.cfg.Host = name
	}
	if len(l.entries) == 0 && len(l.top.list) == 0 {
		l.top.warn(place{file: l.cfg.Path}, "no service is configured", "add [service.NAME] with compose_file and health_url")
	}
	slices.Sort(l.cfg.Files)
	l.cfg.Files = slices.Compact(l.cfg.Files)
	sortFaults(l.top.list)
	serious := slices.DeleteFunc(slices.Clone(l.top.list), func(f agent.Fault) bool { return f.Warning })
	l.cfg.Warnings = append(l.cfg.Warnings, slices.DeleteFunc(l.top.list, func(f agent.Fault) bool { return !f.Warning })...)
	if len(serious) == 0 {
		return l.cfg, nil
	}
	return l.cfg, serious
}
