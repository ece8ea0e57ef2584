package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
)

func (in *invocation) eventsCommand() *cobra.Command {
	var follow bool
	var last int
	var service string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened, and with --follow what happens",
		Long: `Show the newest events, oldest first. With --follow the command goes on until it is
interrupted. The JSON is one object a line.`,
		Example: "  agent events -f\n  agent events --service web --last 200 --output json",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 || last > control.MaxPage {
				return usage(fmt.Errorf("--last must be between 0 and %d", control.MaxPage), "")
			}
			src, err := in.open(cmd.Context())
			if err != nil {
				return err
			}
			defer src.Close()
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			err = src.LastEvents(ctx, last, follow, nil, func(event agent.Event) error {
				if service != "" && event.Service != service {
					return nil
				}
				return in.printEvent(cmd.OutOrStdout(), event)
			})
			switch {
			case interrupted(ctx):
				return exit{nil, exitInterrupted}
			case err == nil && follow:
				return agent.WithHint(fmt.Errorf("%w any more", control.ErrNotRunning), "systemctl status rollback-agent")
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	flags.IntVar(&last, "last", 50, "begin with the newest `N` events")
	flags.StringVarP(&service, "service", "s", "", "only events of this `NAME`")
	if err := cmd.RegisterFlagCompletionFunc("service", in.completeServices); err != nil {
		panic(err)
	}
	return cmd
}

func (in *invocation) printEvent(w io.Writer, e agent.Event) error {
	if in.json() {
		return json.NewEncoder(w).Encode(e)
	}
	what := string(e.Kind)
	if e.Kind == agent.EventTransition {
		what = fmt.Sprintf("deployment %d %s", e.Deployment, e.To)
	}
	if e.Reason != "" {
		what += " (" + string(e.Reason) + ")"
	}
	line := fmt.Sprintf("%s  %-8s  %-16s  %s%s", e.At.Local().Format(time.DateTime), e.Severity, word(e.Service), what, note(e.Message))
	_, err := fmt.Fprintln(w, strings.TrimSpace(clean(line)))
	return err
}
