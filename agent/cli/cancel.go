package cli

import (
	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) cancelCommand() *cobra.Command {
	order := agent.Order{Verb: agent.VerbCancel}
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel a deployment that has touched nothing yet",
		Long: `Cancel a deployment that is queued or fetching. Later ones have touched what
serves; ` + "`agent rollback`" + ` aborts them.`,
		Example:           "  agent cancel 12",
		Args:              arguments(1, 1, "deployment"),
		ValidArgsFunction: in.completeDeployments,
		RunE:              in.deploymentOrder(&order),
	}
	noteFlag(cmd, &order)
	return cmd
}
