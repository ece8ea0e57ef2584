package compose

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// Check reports what is wrong with the service's own config, without asking an
// engine: files that are missing or are no files, and a docker_host that is no
// address.
func (t *Target) Check(_ context.Context, svc agent.Service) ([]agent.Fault, error) {
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
	return faults, nil
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
