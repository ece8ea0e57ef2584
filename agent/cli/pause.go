package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) pauseCommand() *cobra.Command {
	order := agent.Order{Verb: agent.VerbPause}
	cmd := &cobra.Command{
		Use:   "pause NAME",
		Short: "Hold back the automation of a service",
		Long: `Hold back the automation of a service until ` + "`agent resume`" + `, or for a time. What is
under way ends as it would; orders given by hand are still carried out.`,
		Example:           "  agent pause web --for 2h --note \"moving the database\"",
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if order.For < 0 || (order.For == 0 && cmd.Flags().Changed("for")) {
				return usage(errors.New("--for must be longer than nothing"), "leave it out to pause until `agent resume`")
			}
			order.Service = args[0]
			return in.order(cmd, order, noWait)
		},
	}
	cmd.Flags().DurationVar(&order.For, "for", 0, "resume by itself after this `TIME`, like 90m or 2h")
	noteFlag(cmd, &order)
	return cmd
}
