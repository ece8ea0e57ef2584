package cli

import (
	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) keepCommand() *cobra.Command {
	order := agent.Order{Verb: agent.VerbKeep}
	cmd := &cobra.Command{
		Use:   "keep ID",
		Short: "Accept a deployment that is held",
		Long: `Accept a deployment that is held for a human's decision: the new release goes on
serving. ` + "`agent rollback`" + ` is the other decision.`,
		Example:           "  agent keep 12 --note \"slow on purpose\"",
		Args:              arguments(1, 1, "deployment"),
		ValidArgsFunction: in.completeDeployments,
		RunE:              in.deploymentOrder(&order),
	}
	noteFlag(cmd, &order)
	return cmd
}
