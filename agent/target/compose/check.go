package compose

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// Check reports what is wrong with the service's own config and with the model
// that its files describe, without asking an engine: files that are missing or
// are no files, a docker_host that is no address, YAML that is none, compose
// services that are unknown or have no image.
func (t *Target) Check(ctx context.Context, svc agent.Service) ([]agent.Fault, error) {
	var faults []agent.Fault
	add := func(file, hint, format string, args ...any) {
		faults = append(faults, agent.Fault{Service: svc.Name, File: file, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if len(svc.Compose.Files) == 0 {
		add("", "set compose_file", "no compose file")
	}
	for _, file := range svc.Compose.Files {
		if problem := notAFile(file); problem != "" {
			add("", "", "compose file %s: %s", file, problem)
		}
	}
	for _, file := range svc.Compose.EnvFiles {
		if problem := notAFile(file); problem != "" {
			add("", "", "env file %s: %s", file, problem)
		}
	}
	if dir := svc.Compose.ProjectDirectory; dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			add("", "", "project directory %s is not a directory", dir)
		}
	}
	if host := svc.Compose.DockerHost; host != "" {
		if _, err := client.ParseHostURL(host); err != nil {
			add("", "unix:///var/run/docker.sock, or tcp://HOST:PORT", "docker_host %q: %v", host, err)
		}
	}
	if len(faults) > 0 {
		return faults, nil
	}
	warnings, err := offline(ctx, svc)
	if err != nil {
		add("", agent.Hint(err), "%v", err)
	}
	for _, w := range warnings {
		faults = append(faults, agent.Fault{Service: svc.Name, Message: w, Warning: true})
	}
	return faults, nil
}

// Sources lists, without asking an engine, the files that say what the service runs:
// whoever may write one of them rules this host. Content that is only handed to
// containers is not among them.
func (t *Target) Sources(ctx context.Context, svc agent.Service) []string {
	id, err := configured(svc)
	if err != nil {
		return nil
	}
	m, _ := load(ctx, svc, id) // what is wrong with them, Check says
	return m.sources
}

// offline loads the model as Desired does, but for what existing containers say.
func offline(ctx context.Context, svc agent.Service) (warnings []string, err error) {
	id, err := configured(svc)
	if err != nil {
		return nil, err
	}
	m, err := load(ctx, svc, id)
	if err != nil {
		return nil, err
	}
	wanted, err := describe(m)
	return wanted.Warnings, err
}

func notAFile(path string) string {
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		return "no such file"
	case os.IsPermission(err):
		return "the agent may not read it"
	case err != nil:
		return err.Error()
	case info.IsDir():
		return "is a directory"
	}
	return ""
}
