package cli

import (
	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) rollbackCommand() *cobra.Command {
	order, wait, to := agent.Order{Verb: agent.VerbRollback}, noWait, ""
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Put an older release back",
		Long: `Put the newest stable release before the serving one back, or the one that --to
names. What is left is quarantined: it does not deploy by itself again until
` + "`agent retry`" + `. While a deployment is open, the command aborts it.

With --wait the exit code is 0 when the older release serves.`,
		Example:           "  agent rollback web --wait\n  agent rollback web --to r7",
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if to != "" {
				if order.Release, err = releaseNumber(to); err != nil {
					return err
				}
			}
			order.Service = args[0]
			return in.order(cmd, order, wait)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `RELEASE` to put back, like r7")
	waitFlag(cmd, &wait)
	noteFlag(cmd, &order)
	return cmd
}
