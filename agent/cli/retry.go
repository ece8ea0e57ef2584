package cli

import (
	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) retryCommand() *cobra.Command {
	order, wait := agent.Order{Verb: agent.VerbRetry}, noWait
	cmd := &cobra.Command{
		Use:   "retry NAME",
		Short: "Deploy again what was rolled back",
		Long: `Take what is wanted now out of quarantine, and deploy it. Other releases in
quarantine stay there.`,
		Example:           "  agent retry web --wait",
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE:              in.simpleOrder(&order, &wait),
	}
	waitFlag(cmd, &wait)
	noteFlag(cmd, &order)
	return cmd
}
