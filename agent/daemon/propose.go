package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/target/compose"
)

// Propose makes a config of compose files; without any, of the compose projects
// that run on this host's engine. What listens is asked for its health. Nothing
// is changed or written. A file that cannot be used is a fault of the proposal,
// and the others are proposed all the same.
func Propose(ctx context.Context, files []string) (config.Proposal, error) {
	t := compose.New(compose.Options{})
	defer t.Close()
	p := &proposing{target: t, host: dockerHost(os.Getenv("DOCKER_HOST")), names: map[string]bool{}}
	if err := p.choose(ctx, files); err != nil {
		return config.Proposal{}, err
	}
	inOrder(ctx, p.chosen, p.sketch, p.take)
	p.result.Text = config.Write(p.sections)
	return p.result, nil
}

// dockerHost is the engine that a human's own commands use, "" for the usual one
// and for what the agent cannot use.
func dockerHost(variable string) string {
	scheme, _, _ := strings.Cut(variable, "://")
	if variable == defaultDockerHost || !slices.Contains([]string{"unix", "tcp", "http", "https"}, scheme) {
		return ""
	}
	return variable
}

const defaultDockerHost = "unix:///var/run/docker.sock"

// proposing is one Propose call.
type proposing struct {
	target   *compose.Target
	host     string
	chosen   []agent.Compose
	outlines []compose.Outline // taken already
	sections []config.Section
	names    map[string]bool
	result   config.Proposal
}

// sketch is what was found out about one project.
type sketch struct {
	from    agent.Compose
	outline compose.Outline
	section config.Section
	err     error
}

// choose settles what is proposed. A file of a project that runs stands for that
// project: with the files, the name and the directory that it was made with.
func (p *proposing) choose(ctx context.Context, files []string) error {
	running, err := p.target.Projects(ctx, p.host)
	if len(files) == 0 {
		return p.chooseRunning(running, err)
	}
	if err != nil {
		p.note("the engine could not be asked, so nobody looked at what runs: " + err.Error())
	}
	for _, name := range files {
		file, err := composeFile(name)
		if err != nil {
			p.refuse(file, err)
			continue
		}
		matching := made(running, file)
		if len(matching) == 0 {
			matching = []agent.Compose{{Files: []string{file}, DockerHost: p.host}}
		}
		for _, c := range matching {
			if !slices.ContainsFunc(p.chosen, func(other agent.Compose) bool {
				return other.Project == c.Project && slices.Equal(other.Files, c.Files)
			}) {
				p.chosen = append(p.chosen, c)
			}
		}
	}
	return nil
}

func (p *proposing) chooseRunning(running []agent.Compose, err error) error {
	const byHand = "name the compose files: agent init FILE"
	if err != nil {
		return agent.WithHint(err, strings.TrimPrefix(agent.Hint(err)+"; or "+byHand, "; or "))
	}
	if len(running) == 0 {
		return agent.WithHint(errors.New("no compose project runs on "+cmp.Or(p.host, defaultDockerHost)), byHand)
	}
	p.chosen = running
	return nil
}

// composeFile makes a path absolute, and takes a directory for the compose file
// in it.
func composeFile(name string) (string, error) {
	file, err := filepath.Abs(name)
	if err != nil {
		return name, fmt.Errorf("reading %s: %w", name, err)
	}
	if !config.Writable(file) {
		return file, agent.WithHint(fmt.Errorf("the path %q is not UTF-8, and a config is", file), "rename it, or link to it under another name")
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		found, err := compose.FindFile(file)
		return cmp.Or(found, file), err
	}
	return file, nil
}

// made picks the projects that were made of a file, without those of their other
// files that are gone.
func made(running []agent.Compose, file string) []agent.Compose {
	info, err := os.Stat(file)
	if err != nil {
		return nil
	}
	same := func(other string) bool {
		found, err := os.Stat(other)
		return err == nil && os.SameFile(info, found)
	}
	var matching []agent.Compose
	for _, c := range running {
		if slices.ContainsFunc(c.Files, same) {
			c.Files = slices.DeleteFunc(slices.Clone(c.Files), func(f string) bool { _, err := os.Stat(f); return err != nil })
			matching = append(matching, c)
		}
	}
	return matching
}

// sketch looks at one project.
func (p *proposing) sketch(ctx context.Context, c agent.Compose) sketch {
	svc := agent.Service{Name: cmp.Or(c.Project, filepath.Base(filepath.Dir(c.Files[0]))), Target: "compose", Compose: c}
	outline, err := p.target.Outline(ctx, svc)
	if err != nil {
		return sketch{from: c, err: err}
	}
	svc.Compose = outline.Compose
	s := sketch{from: c, outline: outline}
	s.section = config.Section{Service: svc, Above: describe(outline)}
	proposeHealth(ctx, outline, &s.section)
	for _, fault := range new(config.Config).CheckFiles(svc, p.target.Sources(ctx, svc)) {
		s.section.Beside = append(s.section.Beside, strings.TrimSuffix("agent check refuses this: "+fault.Message+": "+fault.Hint, ": "))
	}
	return s
}

// take adds one project to the proposal, in the order in which they were named.
func (p *proposing) take(s sketch) {
	if s.err != nil {
		p.refuse(s.from.Files[0], explainGone(s.from, s.err))
		return
	}
	if err := p.overlaps(s.outline); err != nil {
		p.refuse(s.from.Files[0], err)
		return
	}
	if s.outline.Unknown != nil && len(p.result.Notes) == 0 {
		p.note("the engine could not be asked, so nobody looked at what runs: " + s.outline.Unknown.Error())
	}
	name := p.name(s.outline.Project)
	s.section.Service.Name = name
	p.outlines = append(p.outlines, s.outline)
	p.sections = append(p.sections, s.section)
	p.result.Services = append(p.result.Services, name)
	for _, line := range s.section.Beside {
		if strings.HasPrefix(line, "agent check refuses") {
			p.note(name + ": " + line)
		}
	}
}

// explainGone says why the files of a project that runs may not be here.
func explainGone(c agent.Compose, err error) error {
	if _, statErr := os.Stat(c.Files[0]); c.Project == "" || !errors.Is(statErr, os.ErrNotExist) {
		return err
	}
	return agent.WithHint(fmt.Errorf("project %q runs, but the file that it was made of is gone", c.Project),
		"copy its compose file to this host and name it: agent init FILE; a program in a container may have had it under a path of its own")
}

// overlaps refuses what would deploy the same containers as an earlier section:
// most often an override file that was named on its own.
func (p *proposing) overlaps(o compose.Outline) error {
	for _, other := range p.outlines {
		if other.Project != o.Project {
			continue
		}
		for _, part := range o.Parts {
			if slices.ContainsFunc(other.Parts, func(q compose.Part) bool { return q.Name == part.Name }) {
				return agent.WithHint(fmt.Errorf("compose service %q of project %q is described by %s already", part.Name, o.Project, other.Compose.Files[0]),
					fmt.Sprintf("where both belong together: compose_files = [%s, %s]", config.Quote(other.Compose.Files[0]), config.Quote(o.Compose.Files[0])))
			}
		}
	}
	return nil
}

// name makes the name of a section of the name of a project.
func (p *proposing) name(project string) string {
	project = project[:min(len(project), 60)]
	name := project
	for n := 2; p.names[name]; n++ {
		name = fmt.Sprintf("%s-%d", project, n)
	}
	p.names[name] = true
	return name
}

func (p *proposing) note(text string) { p.result.Notes = append(p.result.Notes, text) }

func (p *proposing) refuse(file string, err error) {
	message := err.Error()
	for _, verb := range []string{"reading ", "loading "} {
		message = strings.TrimPrefix(message, verb+file+": ")
	}
	p.result.Faults = append(p.result.Faults, agent.Fault{File: file, Message: message, Hint: cmp.Or(agent.Hint(err), "mend the file, then try again")})
}

// describe lists what a project consists of, as comments.
func describe(o compose.Outline) []string {
	lines := []string{fmt.Sprintf("Compose project %s:", o.Project)}
	width := 0
	for _, part := range o.Parts {
		width = max(width, len(part.Name))
	}
	for _, part := range o.Parts {
		lines = append(lines, strings.TrimRight(fmt.Sprintf("  %-*s  %s%s", width, part.Name, part.Image, traits(part, o.Unknown == nil)), " "))
	}
	for _, name := range o.NoImage {
		lines = append(lines, fmt.Sprintf("  %s has no image and is left alone: the agent does not build", name))
	}
	for _, profile := range o.Profiles {
		lines = append(lines, fmt.Sprintf("  profile %s is off; on: profiles = [%s]", profile, strings.Join(quotes(append(slices.Clone(o.Compose.Profiles), profile)), ", ")))
	}
	for _, warning := range o.Warnings {
		lines = append(lines, "  "+warning)
	}
	return lines
}

func quotes(words []string) []string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = config.Quote(word)
	}
	return quoted
}

func traits(part compose.Part, asked bool) string {
	var words []string
	switch {
	case part.OneShot:
		words = append(words, "one-shot: exit code 0 is its success")
	case part.Running:
		words = append(words, "running")
	case asked:
		words = append(words, "not running")
	}
	switch part.Check {
	case compose.CheckFile, compose.CheckImage:
		words = append(words, fmt.Sprintf("HEALTHCHECK in the %s", part.Check))
	case compose.CheckUnknown:
		if !part.OneShot {
			words = append(words, "its image is not here: it may have a HEALTHCHECK")
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "  (" + strings.Join(words, ", ") + ")"
}
