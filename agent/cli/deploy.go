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
		Long: `Deploy what the files ask for now, with the images that the registry has now. Where
nothing differs there is nothing to do, and the reason is printed. What was rolled
back needs ` + "`agent retry`" + `; the exit code is 4 then.

With --wait every step is printed as it happens, and the exit code says how it
ended. Ctrl-C ends the waiting only; the deployment goes on.`,
		Example:           "  agent deploy web\n  agent deploy web --wait --note \"release 1.4\"",
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE:              in.simpleOrder(&order, &wait),
	}
	cmd.Flags().BoolVar(&order.Force, "force", false, "deploy although nothing differs, or it was rolled back; containers that run it already stay")
	waitFlag(cmd, &wait)
	noteFlag(cmd, &order)
	return cmd
}
