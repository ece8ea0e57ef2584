package daemon

import (
	"context"
	"fmt"
	"log/slog"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/target"
	"rollback-agent/agent/target/compose"
)

// kinds is the table of target kinds.
func kinds(cfg *config.Config, log *slog.Logger) map[string]target.Target {
	return map[string]target.Target{
		"compose": compose.New(compose.Options{Log: log, DockerConfig: cfg.Registry.DockerConfig}),
	}
}

// Check asks the target of each service what is wrong with what the service
// describes, and who may write the files that describe it. It is offline, and needs no running agent.
func Check(ctx context.Context, cfg *config.Config) (agent.Faults, error) {
	targets := kinds(cfg, slog.New(slog.DiscardHandler))
	var all agent.Faults
	for _, svc := range cfg.Services {
		faults, err := targets[svc.Target].Check(ctx, svc)
		if err != nil {
			return all, fmt.Errorf("checking service %q: %w", svc.Name, err)
		}
		all = append(all, faults...)
		if t, ok := targets[svc.Target].(interface {
			Sources(context.Context, agent.Service) []string
		}); ok {
			all = append(all, cfg.CheckFiles(svc, t.Sources(ctx, svc))...)
		}
	}
	return all, nil
}
