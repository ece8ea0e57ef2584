package cli

import "github.com/spf13/cobra"

func (in *invocation) runCommand(wiring Agent) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the agent itself",
		Long: `Run the agent in the foreground until it is told to stop: SIGTERM and SIGINT stop
it in order, a second one at once, SIGHUP reads the config again.

What runs already is adopted without being touched. A deployment that was under
way when the agent ended is finished or undone.`,
		Example: "  agent run --config /etc/rollback-agent/config.toml",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return wiring.Run(cmd.Context(), Options{Config: in.config, StateDir: in.stateDir, Socket: in.socket, Version: Version().Version})
		},
	}
}
