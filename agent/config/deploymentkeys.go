package config

import (
	"time"

	"rollback-agent/agent"
)

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
