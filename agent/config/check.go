package config

import (
	"errors"
	"fmt"
	"os"

	"rollback-agent/agent"
)

// Check looks again at the files that a service names: whether they are there,
// and who may write them. Files come and go without the config changing, so the
// result is true for now only.
func (c *Config) Check(svc agent.Service) agent.Faults {
	return c.check(svc, newTrust())
}

func (c *Config) check(svc agent.Service, owner *trust) agent.Faults {
	found := &faults{service: svc.Name}
	at := c.where[svc.Name]
	owner, err := owner.with(svc.TrustOwner)
	if err != nil {
		found.add(at.at("trust_owner"), "trust_owner: "+err.Error(), agent.Hint(err))
	}
	for _, file := range svc.Compose.Files {
		inspect(file, "compose file", at.at("compose_file", "compose_files"), owner, found)
	}
	for _, file := range svc.Compose.EnvFiles {
		inspect(file, "env file", at.at("env_files"), owner, found)
	}
	if file := svc.Health.TLS.CAFile; file != "" {
		if _, err := os.Stat(file); err != nil {
			found.add(at.at("health_tls"), fmt.Sprintf("ca_file: %s: %s", file, reason(err)), "")
		}
	}
	return found.list
}

// inspect checks a file whose content decides what runs on this host.
func inspect(file, what string, at place, owner *trust, found *faults) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		found.add(at, fmt.Sprintf("there is no %s %s", what, file), "make it, or correct the path")
		return
	case err != nil:
		found.add(at, fmt.Sprintf("%s %s: %s", what, file, reason(err)), "the agent's user must be able to read it")
		return
	case info.IsDir():
		found.add(at, fmt.Sprintf("%s %s is a directory", what, file), "name the file in it")
		return
	}
	for _, problem := range owner.compose(file) {
		found.add(at, fmt.Sprintf("%s %s", what, problem), agent.Hint(problem))
	}
}
