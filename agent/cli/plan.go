package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rollback-agent/agent/control"
)

func (in *invocation) planCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan [NAME]",
		Short: "Say what would happen now, and why",
		Long: `Say what the agent is going to do about each service: deploy, adopt, wait or skip,
with the reason. It changes nothing.`,
		Example:           "  agent plan\n  agent plan web",
		Args:              arguments(0, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := in.client()
			if err != nil {
				return err
			}
			service := ""
			if len(args) > 0 {
				service = args[0]
			}
			plans, err := client.Plan(cmd.Context(), service)
			if err != nil {
				return err
			}
			if in.json() {
				return printJSON(cmd.OutOrStdout(), plans)
			}
			return planTable(plans).print(cmd.OutOrStdout())
		},
	}
}

func planTable(plans []control.Plan) *table {
	t := newTable("SERVICE", "ACTION", "REASON", "DETAIL")
	for _, p := range plans {
		t.add(p.Service, string(p.Plan.Action), string(p.Plan.Reason), word(p.Plan.Detail)+until(p.Plan.Until))
	}
	return t
}

func unknownService(name string) error {
	return usage(fmt.Errorf("there is no service %q", name), "`agent status` lists them")
}
