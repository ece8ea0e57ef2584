// Package config reads the agent's TOML files into typed values.
//
// Its one promise: one pass finds everything that is wrong, and says of each
// fault where it stands and what to do about it. A fault inside one service
// costs that service only; what is not known is never accepted silently.
//
// It does not load compose files and asks no engine: whether the compose
// services it names exist is the target's business.
package config

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"rollback-agent/agent"
)

// Config is everything that the files say, with defaults filled in and paths
// absolute. It survives a round trip through JSON, secrets included, so that the
// last accepted one can be recorded.
type Config struct {
	Path     string // the main file
	StateDir string
	Socket   string
	Host     string   // name shown in alerts
	Include  []string // patterns
	Log      Log
	History  History
	Registry Registry
	Slack    Slack

	Services []agent.Service   // those without a fault, in the order of the files
	Broken   map[string]Broken // the others, by name
	Warnings agent.Faults      // what deserves a word and stops nothing

	// Files are the main file, the includes, and the directories where further
	// includes may appear: a change in any of them asks for a reload.
	Files []string

	where map[string]places // where each service's keys stand, for Check
}

// Log is the agent's own log.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // text or json
}

// History is what is kept of the past.
type History struct {
	Keep int // deployments of each service
}

// Registry is how image registries are asked.
type Registry struct {
	PollInterval time.Duration
	Insecure     []string // HOST or HOST:PORT
	DockerConfig string   // config.json or its directory; "" is Docker's own default
}

// Broken is a service that is disabled by its faults.
type Broken struct {
	Service agent.Service // as far as it could be read
	Faults  agent.Faults
	// Mendable tells that the config itself is fine and only files that it names
	// are at fault: [Config.Check] says when they are mended.
	Mendable bool
}

// Load reads the file at path and what it includes. The faults it returns are
// those of the top level: with any of them the config must not be used. Faults
// of one service are in [Config.Broken]. The config is never nil.
func Load(path string) (*Config, agent.Faults) {
	l := newLoader(path)
	l.main()
	l.services()
	return l.finish()
}

// Faults returns everything that is wrong or odd with single services, and the
// warnings, in the order of the files.
func (c *Config) Faults() agent.Faults {
	all := slices.Clone(c.Warnings)
	for _, name := range slices.Sorted(maps.Keys(c.Broken)) {
		all = append(all, c.Broken[name].Faults...)
	}
	sortFaults(all)
	return all
}

func sortFaults(list agent.Faults) {
	slices.SortStableFunc(list, func(a, b agent.Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}
