package config

import (
	"time"

	"rollback-agent/agent"
)

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
			doc:  "HOST:PORT that must accept a connection, and not close it at once.",
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
