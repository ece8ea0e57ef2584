package cli

import (
	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) resumeCommand() *cobra.Command {
	order, wait := agent.Order{Verb: agent.VerbResume}, noWait
	cmd := &cobra.Command{
		Use:               "resume NAME",
		Short:             "Let the automation of a service go on",
		Long:              `Let the automation of a paused service go on. What changed meanwhile is deployed.`,
		Example:           "  agent resume web",
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE:              in.simpleOrder(&order, &wait),
	}
	noteFlag(cmd, &order)
	return cmd
}
