package config

import (
	"time"

	"rollback-agent/agent"
)

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
			doc:  "Name of this host in alerts and in the history.",
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
			doc:  "How often each distinct image reference is asked for its digest (one HEAD request, however many services share it).",
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

// serviceKeys stand in [service.NAME] and in [defaults].
func serviceKeys() []key[agent.Service] {
	all := append(composeKeys(), healthKeys()...)
	return append(all, deploymentKeys()...)
}

func composeKeys() []key[agent.Service] {
	return []key[agent.Service]{
		{
			name: "target", def: `"compose"`,
			doc:  "Where the service runs.",
			form: oneOf(func(s *agent.Service) *string { return &s.Target }, "compose"),
		},
		{
			name: "compose_file", example: `"/opt/myapp/docker-compose.yml"`,
			doc:  "The compose file that describes the service. Required, unless compose_files is set.",
			form: composeFile(),
		},
		{
			name: "compose_files", example: `["/opt/myapp/docker-compose.yml", "/opt/myapp/docker-compose.prod.yml"]`,
			doc:  "Several compose files; later ones override earlier ones, as with docker compose -f A -f B.",
			form: paths(func(s *agent.Service) *[]string { return &s.Compose.Files }),
		},
		{
			name: "project", absent: "the name that docker compose would take", example: `"myapp"`,
			doc:  "Compose project name.",
			form: text(func(s *agent.Service) *string { return &s.Compose.Project }, isProject),
		},
		{
			name: "project_directory", absent: "the directory of the first compose file", example: `"/opt/myapp"`,
			doc:  "Directory that relative paths inside the compose files are relative to.",
			form: path(func(s *agent.Service) *string { return &s.Compose.ProjectDirectory }),
		},
		{
			name: "env_files", absent: ".env in the project directory", example: `["/opt/myapp/.env", "/opt/myapp/prod.env"]`,
			doc:  "Files with the variables that the compose files use. The agent's own environment is never used.",
			form: paths(func(s *agent.Service) *[]string { return &s.Compose.EnvFiles }),
		},
		{
			name: "profiles", def: `[]`, example: `["web"]`,
			doc:  "Compose profiles that are enabled.",
			form: list(func(s *agent.Service) *[]string { return &s.Compose.Profiles }),
		},
		{
			name: "compose_services", absent: "every compose service that has an image", example: `["web", "worker"]`,
			doc:  "The compose services that are deployed and rolled back together. The others are left alone.",
			form: list(func(s *agent.Service) *[]string { return &s.Compose.Services }),
		},
		{
			name: "one_shots", def: `[]`, example: `["migrate"]`,
			doc:  "Compose services that do their work and exit; exit code 0 is their success. Those that another one awaits with service_completed_successfully are known already.",
			form: list(func(s *agent.Service) *[]string { return &s.Compose.OneShots }),
		},
		{
			name: "docker_host", def: `"unix:///var/run/docker.sock"`,
			doc:  "The Docker Engine that runs the service.",
			form: text(func(s *agent.Service) *string { return &s.Compose.DockerHost }, isDockerHost),
		},
	}
}

func healthKeys() []key[agent.Service] {
	return append(httpKeys(), []key[agent.Service]{
		{
			name: "health_tcp", absent: "no TCP probe", example: `"localhost:5432"`,
			doc:  "HOST:PORT that must accept a connection.",
			form: text(func(s *agent.Service) *string { return &s.Health.TCP }, isAddress),
		},
		{
			name: "health_command", absent: "no command probe", example: `["/usr/local/bin/check-myapp", "--quick"]`,
			doc: "Program and arguments; exit code 0 is health. No shell is used. " +
				"As a table, { argv = [\"pg_isready\"], in = \"db\" }, it runs inside the container of that compose service.",
			form: argv(func(s *agent.Service) *[]string { return &s.Health.Command }),
			keys: []key[agent.Service]{
				{
					name: "argv", example: `["pg_isready", "-q"]`, doc: "Program and arguments. Required.",
					form: argv(func(s *agent.Service) *[]string { return &s.Health.Command }),
				},
				{
					name: "in", absent: "on the host", example: `"db"`, doc: "Compose service whose container runs it.",
					form: text(func(s *agent.Service) *string { return &s.Health.In }),
				},
			},
			clear: func(s *agent.Service) { s.Health.Command, s.Health.In = nil, "" },
		},
		{
			name: "health_interval", def: `"2s"`,
			doc:  "Time between two looks of each probe.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.Health.Interval }, 10*time.Millisecond),
		},
		{
			name: "health_timeout", def: `"5s"`,
			doc:  "How long one look may take.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.Health.Timeout }, 10*time.Millisecond),
		},
		{
			name: "min_healthy_time", def: `"10s"`,
			doc:  "How long a release must be healthy without a break. A restart or a failing probe starts the time anew.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.MinHealthyTime }, 0),
		},
		{
			name: "health_deadline", def: `"120s"`,
			doc:  "When a release must be healthy, counted from its start. Lengthened by itself where a HEALTHCHECK may need longer.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.HealthDeadline }, time.Millisecond),
		},
	}...)
}

func httpKeys() []key[agent.Service] {
	return []key[agent.Service]{
		{
			name: "health_url", absent: "no HTTP probe", example: `"http://localhost:3000/health"`,
			doc:  "URL that must answer. Redirects are not followed, no proxy is used.",
			form: text(func(s *agent.Service) *string { return &s.Health.URL }, isHTTP),
		},
		{
			name: "health_status", def: `"200-299"`, example: `[200, "300-399"]`,
			doc:  "Status codes that are health: a number, a range, or a list of both.",
			form: form[agent.Service]{"number, range or list", readStatus},
		},
		{
			name: "health_body", absent: "any answer", example: `"ok"`,
			doc:  "Text that the first 64 KiB of the answer must contain.",
			form: text(func(s *agent.Service) *string { return &s.Health.Body }),
		},
		{
			name: "health_headers", absent: "none", example: `{ Host = "myapp.example.com", Authorization = "Bearer s3cr3t" }`,
			doc:  "Headers of the request. Their values are never printed.",
			form: form[agent.Service]{"table of strings", readHeaders},
		},
		{
			name: "health_tls", absent: "the certificates that the host trusts", example: `{ ca_file = "/etc/ssl/internal-ca.pem" }`,
			doc: "How the certificate of an https URL is verified.",
			keys: []key[agent.Service]{
				{
					name: "ca_file", absent: "the host's own", example: `"/etc/ssl/internal-ca.pem"`, doc: "Certificates that are trusted, PEM.",
					form: path(func(s *agent.Service) *string { return &s.Health.TLS.CAFile }),
				},
				{
					name: "server_name", absent: "the host of the URL", example: `"myapp.example.com"`, doc: "Name that the certificate must have.",
					form: text(func(s *agent.Service) *string { return &s.Health.TLS.ServerName }),
				},
				{
					name: "skip_verify", def: `false`, example: `true`, doc: "Accept any certificate.",
					form: boolean(func(s *agent.Service) *bool { return &s.Health.TLS.SkipVerify }),
				},
			},
			clear: func(s *agent.Service) { s.Health.TLS = agent.TLS{} },
		},
	}
}

func deploymentKeys() []key[agent.Service] {
	return append(decisionKeys(), []key[agent.Service]{
		{
			name: "fetch_deadline", def: `"30m"`,
			doc:  "When the images of a release must be here. Later it has failed, and nothing was changed.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.FetchDeadline }, time.Millisecond),
		},
		{
			name: "progress_deadline", def: `"10m"`,
			doc:  "When starting a release and proving its health must be over. Later it is rolled back.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.ProgressDeadline }, time.Millisecond),
		},
		{
			name: "rollback_deadline", def: `"120s"`,
			doc:  "When a rollback must be healthy. Later it has failed, and the service waits for a human.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.RollbackDeadline }, time.Millisecond),
		},
		{
			name: "delay", def: `"0s"`,
			doc:  "How long a change waits before it deploys; it waits anew when it changes again.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.Delay }, 0),
		},
		{
			name: "debounce", def: `"300ms"`,
			doc:  "Quiet time after the last write to a watched file.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.Debounce }, 0),
		},
		{
			name: "keep_releases", def: `3`,
			doc:  "Releases whose images stay on the host, so that a rollback needs no registry. Two stable ones always stay.",
			form: number(func(s *agent.Service) *int { return &s.KeepReleases }, 2),
		},
		{
			name: "before_deploy", def: `[]`, example: `["/usr/local/bin/backup-myapp"]`,
			doc:  "Program and arguments, run on the host before anything changes. No shell is used. With any exit code but 0 nothing is deployed.",
			form: argv(func(s *agent.Service) *[]string { return &s.BeforeDeploy }),
		},
		{
			name: "trust_owner", def: `[]`, example: `["deploy"]`,
			doc:  "Users who may own or write the compose files besides root and the members of group docker. Write access to a compose file is root on this host.",
			form: list(func(s *agent.Service) *[]string { return &s.TrustOwner }),
		},
	}...)
}

func decisionKeys() []key[agent.Service] {
	return []key[agent.Service]{
		{
			name: "max_restarts", def: `2`,
			doc:  "Exits of containers that are tolerated while a release is proved and watched; one more is a crash. 0 rolls back at the first.",
			form: number(func(s *agent.Service) *int { return &s.MaxRestarts }, 0),
		},
		{
			name: "watch_for", def: `"1m"`,
			doc:  "How long a release is watched after it was proved. Only then it is stable.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.WatchFor }, 0),
		},
		{
			name: "on_failure", def: `"rollback"`,
			doc:  "What a failed release causes: roll back, hold and ask a human, or only alert.",
			form: oneOf(func(s *agent.Service) *agent.Action { return &s.OnFailure }, "rollback", "hold", "alert"),
		},
		{
			name: "hold_for", def: `"30m"`,
			doc:  "How long a held deployment waits for a human.",
			form: duration(func(s *agent.Service) *time.Duration { return &s.HoldFor }, time.Millisecond),
		},
		{
			name: "on_hold_expiry", def: `"keep"`,
			doc:  "What becomes of a held deployment that nobody decides. What is kept is not stable.",
			form: oneOf(func(s *agent.Service) *agent.HoldExpiry { return &s.OnHoldExpiry }, "keep", "rollback"),
		},
		{
			name: "mode", def: `"auto"`,
			doc:  "Whether changes deploy by themselves, or are told and deployed by a human.",
			form: oneOf(func(s *agent.Service) *agent.Mode { return &s.Mode }, "auto", "notify"),
		},
	}
}
