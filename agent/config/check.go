package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rollback-agent/agent"
)

// Check looks again at the files that a service names: whether they are there,
// and who may write them. Files come and go without the config changing, so the
// result is true for now only.
func (c *Config) Check(svc agent.Service) agent.Faults {
	return c.check(svc, newTrust())
}

// CheckFiles is Check, and looks at further files that decide what the service is,
// which the config does not name. Those that are not there are nobody's.
func (c *Config) CheckFiles(svc agent.Service, files []string) agent.Faults {
	return c.check(svc, newTrust(), files...)
}

func (c *Config) check(svc agent.Service, owner *trust, further ...string) agent.Faults {
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
	for _, file := range further {
		own(file, kindOf(file), at.at("compose_file", "compose_files"), owner, found)
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
	own(file, what, at, owner, found)
}

// own says who but the trusted may write a file, if it exists. Files share
// directories: what was said of one already is not said again.
func own(file, what string, at place, owner *trust, found *faults) {
	info, err := os.Stat(file)
	if err != nil || info.IsDir() || info.Mode()&os.ModeCharDevice != 0 { // /dev/null says nothing
		return
	}
	for _, problem := range owner.compose(file) {
		told := func(f agent.Fault) bool { return strings.HasSuffix(f.Message, " "+problem.Error()) }
		if !slices.ContainsFunc(found.list, told) {
			found.add(at, fmt.Sprintf("%s %s", what, problem), agent.Hint(problem))
		}
	}
}

// kindOf says what a file that compose files lead to is, as far as its name tells.
func kindOf(file string) string {
	switch base := filepath.Base(file); {
	case slices.Contains([]string{".yml", ".yaml", ".json"}, filepath.Ext(base)):
		return "compose file"
	case strings.Contains(base, "env"):
		return "env file"
	}
	return "file"
}
