package config

import "time"

// topKeys stand above the first section.
func topKeys() []key[Config] {
	return []key[Config]{
		{
			name: "state_dir", def: `"/var/lib/rollback-agent"`,
			doc:  "Directory of the history: deployments, releases, quarantine.",
			form: path(func(c *Config) *string { return &c.StateDir }),
		},
		{
			name: "socket", def: `"/run/rollback-agent/agent.sock"`,
			doc:  "Unix socket that the commands use to talk to the running agent.",
			form: path(func(c *Config) *string { return &c.Socket }),
		},
		{
			name: "host", absent: "the name of the host", example: `"vm-17"`,
			doc:  "Name of this host in alerts.",
			form: text(func(c *Config) *string { return &c.Host }),
		},
		{
			name: "include", def: `["services.d/*.toml"]`,
			doc:  "More files, each with [service.NAME] sections only. Relative to this file; * and ? match any names, and matching none is fine.",
			form: paths(func(c *Config) *[]string { return &c.Include }),
		},
	}
}

// sections are the sections of the agent itself, in the order of the docs.
func sections() []section[Config] {
	return []section[Config]{
		{name: "log", doc: "The agent's own log, on standard error.", keys: logKeys()},
		{name: "history", doc: "What is kept of the past.", keys: historyKeys()},
		{name: "registry", doc: "How image registries are asked for new digests.", keys: registryKeys()},
		{name: "slack", doc: "Where people hear of what happened. Without this section nothing is sent.", keys: slackKeys()},
	}
}

func logKeys() []key[Config] {
	return []key[Config]{
		{
			name: "level", def: `"info"`,
			doc:  "The least important lines that are written.",
			form: oneOf(func(c *Config) *string { return &c.Log.Level }, "debug", "info", "warn", "error"),
		},
		{
			name: "format", def: `"text"`,
			doc:  "One line of text, or one JSON object, for each event.",
			form: oneOf(func(c *Config) *string { return &c.Log.Format }, "text", "json"),
		},
	}
}

func historyKeys() []key[Config] {
	return []key[Config]{{
		name: "keep", def: `1000`,
		doc:  "Deployments kept for each service; older ones are forgotten. Releases that a rollback may need are always kept.",
		form: number(func(c *Config) *int { return &c.History.Keep }, 10),
	}}
}

func registryKeys() []key[Config] {
	return []key[Config]{
		{
			name: "poll_interval", def: `"60s"`,
			doc:  "How often each distinct image reference is asked for its digest (one HEAD request, however many services share it). A new image is deployed within this time and a second.",
			form: duration(func(c *Config) *time.Duration { return &c.Registry.PollInterval }, time.Second),
		},
		{
			name: "insecure", def: `[]`, example: `["registry.lan:5000"]`,
			doc:  "Registries, HOST or HOST:PORT, that are spoken to over plain HTTP or with a certificate that nobody vouches for.",
			form: list(func(c *Config) *[]string { return &c.Registry.Insecure }),
		},
		{
			name: "docker_config", absent: "$DOCKER_CONFIG, else ~/.docker, of the user that runs the agent", example: `"/etc/rollback-agent/docker/config.json"`,
			doc:  "Docker's own config.json with the registry logins, or the directory that holds it.",
			form: path(func(c *Config) *string { return &c.Registry.DockerConfig }),
		},
	}
}
