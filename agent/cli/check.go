package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

// checked is what `agent check` prints as JSON.
type checked struct {
	Config   string        `json:"config"`
	Services []string      `json:"services"` // those that can be used
	Faults   []agent.Fault `json:"faults"`
}

func (in *invocation) checkCommand(wiring Agent) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Report every fault of the config",
		Long: `Read the config, everything it includes, and the compose files of its services,
and report every fault at once. Nothing is asked of the engine, a registry or the
running agent.

It ends with exit code 2 when there is a fault, 0 when there are warnings only.`,
		Example: "  agent check\n  agent check --config ./config.toml",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, faults := config.Load(in.config)
			faults = append(slices.Clone(faults), cfg.Faults()...)
			described, err := wiring.Check(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			faults = append(faults, described...)
			result := checked{Config: in.config, Services: []string{}, Faults: append([]agent.Fault{}, faults...)}
			for _, svc := range cfg.Services {
				result.Services = append(result.Services, svc.Name)
			}
			wrong := slices.ContainsFunc(faults, func(f agent.Fault) bool { return !f.Warning })
			if in.json() {
				if err := printJSON(cmd.OutOrStdout(), result); err != nil {
					return err
				}
			} else {
				printFaults(cmd.ErrOrStderr(), faults)
				if !wrong {
					fmt.Fprintf(cmd.OutOrStdout(), "%s is fine, %d services checked\n", in.config, len(cfg.Services))
				}
			}
			if wrong {
				return exit{nil, exitUsage}
			}
			return nil
		},
	}
}
