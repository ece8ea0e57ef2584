package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	composecli "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"rollback-agent/agent"
)

// Outline is what compose files describe, and what this host knows of it: enough
// to propose a config, and no more.
type Outline struct {
	// Compose is the least that a config has to say to mean the same.
	Compose  agent.Compose
	Project  string // its name, said or not
	Parts    []Part // the compose services that would be the unit, by name
	NoImage  []string
	Profiles []string // those that are off and would add compose services
	Files    []string // every file that counts
	Warnings []string
	// Unknown says why the engine could not be asked; nil: it was.
	Unknown error
}

// Part is one compose service of an outline.
type Part struct {
	Name, Image string
	Check       Check
	OneShot     bool
	Running     bool
	HostNetwork bool
	Ports       []Port // TCP ports of the host that lead to it
}

// Check says where the HEALTHCHECK of a compose service stands.
type Check string

// The places of a HEALTHCHECK.
const (
	CheckNone    Check = ""
	CheckFile    Check = "compose file"
	CheckImage   Check = "image"
	CheckUnknown Check = "unknown" // the image is not here
)

// Port is a TCP port of the host that leads to a compose service.
type Port struct {
	Host   string // where a program on this host finds it: "localhost", or the address that it is bound to
	Port   int    // 0: another one after each recreation
	Inside int    // the container's own
	HTTP   bool   // the file itself says that it speaks HTTP
	Open   bool   // a running container has it
}

// Outline reads the compose files of a service, as Check does, and asks the
// engine, where it answers, for the containers and images that are here. Of
// svc.Compose everything but Files may be left open.
func (t *Target) Outline(ctx context.Context, svc agent.Service) (Outline, error) {
	m, err := outlined(ctx, &svc)
	if err != nil {
		return Outline{Compose: svc.Compose}, err
	}
	m, unknown := t.withRunningProfiles(ctx, &svc, m)
	if _, err := describe(m); err != nil { // what Check would find
		return Outline{Compose: svc.Compose}, err
	}
	o := Outline{
		Compose: svc.Compose, Project: m.project.Name, Files: m.files, Warnings: m.warnings,
		Unknown: unknown,
	}
	for _, name := range m.unit {
		o.Parts = append(o.Parts, partOf(m, name))
	}
	for name, s := range m.project.Services {
		if s.Image == "" {
			o.NoImage = append(o.NoImage, name)
		}
	}
	slices.Sort(o.NoImage)
	o.Profiles = offProfiles(m.project)
	o.Compose = least(svc.Compose, defaultProject(ctx, svc))
	if unknown == nil {
		o.Unknown = t.lookAround(ctx, svc, &o)
	}
	return o, nil
}

// outlined loads the model. A project that has no name of its own, because its
// directory's has no letter that may stand in one, gets one.
func outlined(ctx context.Context, svc *agent.Service) (model, error) {
	for _, file := range svc.Compose.Files {
		if err := readable(file); err != nil {
			return model{}, err
		}
	}
	id, err := configured(*svc)
	if err != nil {
		return model{}, err
	}
	if id.project == "" && loader.NormalizeProjectName(filepath.Base(id.directory)) == "" {
		if m, err := load(ctx, *svc, id); err == nil {
			return m, nil // the files name it
		}
		svc.Compose.Project = "app"
		id.project = "app"
	}
	return load(ctx, *svc, id)
}

func readable(file string) error {
	info, err := os.Lstat(file)
	problem, hint := notAFile(file), "name a compose file, or the directory that holds one"
	switch {
	case problem == "":
		opened, err := os.Open(file)
		if err != nil {
			return agent.WithHint(fmt.Errorf("reading %s: %w", file, pathError(err)), "the agent's user must be able to read it")
		}
		return opened.Close()
	case err == nil && info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err == nil {
			problem, hint = "it is a link to "+target+", which is not there", "mend the link, or name another file"
		}
	}
	return agent.WithHint(fmt.Errorf("reading %s: %s", file, problem), hint)
}

// pathError strips the operation and the path from an error of package os.
func pathError(err error) error {
	if inner, ok := errors.AsType[*os.PathError](err); ok {
		return inner.Err
	}
	return err
}

// defaultProject is the project's name where nobody says it, "" where there is
// none.
func defaultProject(ctx context.Context, svc agent.Service) string {
	svc.Compose.Project = ""
	id, err := configured(svc)
	if err != nil {
		return ""
	}
	m, err := load(ctx, svc, id)
	if err != nil {
		return ""
	}
	return m.project.Name
}

// least leaves out what a config need not say.
func least(c agent.Compose, project string) agent.Compose {
	if c.Project == project {
		c.Project = ""
	}
	directory := filepath.Dir(c.Files[0])
	if cmp.Or(c.ProjectDirectory, directory) == directory {
		c.ProjectDirectory = ""
	}
	if len(c.EnvFiles) == 1 && c.EnvFiles[0] == filepath.Join(cmp.Or(c.ProjectDirectory, directory), ".env") {
		c.EnvFiles = nil
	}
	alone, err := configured(agent.Service{Compose: agent.Compose{Files: c.Files[:1]}})
	if err == nil && slices.Equal(alone.files, c.Files) {
		c.Files = c.Files[:1]
	}
	return c
}

func partOf(m model, name string) Part {
	s := m.project.Services[name]
	part := Part{Name: name, Image: s.Image, Check: CheckUnknown, OneShot: m.isOneShot(name), HostNetwork: s.NetworkMode == "host"}
	switch h := s.HealthCheck; {
	case h == nil || len(h.Test) == 0 && !h.Disable: // the image's own counts
	case h.Disable || h.Test[0] == "NONE":
		part.Check = CheckNone
	default:
		part.Check = CheckFile
	}
	for _, p := range s.Ports {
		if port, ok := portOf(p); ok {
			part.Ports = append(part.Ports, port)
		}
	}
	return part
}

// portOf reads a published port. A range for one port inside is as good as
// none: any of it may be taken.
func portOf(p types.ServicePortConfig) (Port, bool) {
	if p.Protocol != "" && p.Protocol != "tcp" {
		return Port{}, false
	}
	port := Port{Host: clientAddress(p.HostIP), Inside: int(p.Target), HTTP: strings.HasPrefix(strings.ToLower(p.AppProtocol), "http")}
	if _, err := fmt.Sscanf(p.Published+"\n", "%d\n", &port.Port); err != nil {
		port.Port = 0
	}
	return port, true
}

// clientAddress is where a program of this host finds a port that is bound to an
// address.
func clientAddress(bound string) string {
	switch bound = strings.Trim(bound, "[]"); bound {
	case "", "0.0.0.0", "::":
		return "localhost"
	}
	return bound
}

// offProfiles names the profiles that would add compose services.
func offProfiles(project *types.Project) []string {
	var names []string
	for _, s := range project.DisabledServices {
		names = append(names, s.Profiles...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// FindFile returns the compose file that Compose itself would take in a
// directory.
func FindFile(dir string) (string, error) {
	for _, name := range composecli.DefaultFileNames {
		if file := filepath.Join(dir, name); exists(file) {
			return file, nil
		}
	}
	return "", agent.WithHint(fmt.Errorf("there is no compose file in %s", dir),
		"it would be called "+strings.Join(composecli.DefaultFileNames, ", ")+"; name another one by its path")
}
