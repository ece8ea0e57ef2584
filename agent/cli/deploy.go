package cli

import (
	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) deployCommand() *cobra.Command {
	order, wait := agent.Order{Verb: agent.VerbDeploy}, noWait
	cmd := &cobra.Command{
		Use:   "deploy NAME",
		Short: "Deploy what is wanted now",
		Long: `Deploy what the files and the registry ask for now, without waiting for the next
poll. Where nothing differs there is nothing to do, and the reason is printed.

With --wait every step is printed as it happens, and the exit code says how it
ended. Ctrl-C ends the waiting only; the deployment goes on.`,
		Example:           "  agent deploy web\n  agent deploy web --wait --note \"release 1.4\"",
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE:              in.simpleOrder(&order, &wait),
	}
	cmd.Flags().BoolVar(&order.Force, "force", false, "deploy although nothing differs")
	waitFlag(cmd, &wait)
	noteFlag(cmd, &order)
	return cmd
}
