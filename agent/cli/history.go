package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
)

func (in *invocation) historyCommand() *cobra.Command {
	var filter agent.HistoryFilter
	cmd := &cobra.Command{
		Use:   "history [NAME]",
		Short: "List deployments, newest first",
		Long: `List deployments, newest first: what was tried, how it ended and why, which release
it began with, made and restored, and who asked for it.

It reads the history itself when the agent does not run. The JSON is an array of
objects; their keys are an API.`,
		Example:           "  agent history\n  agent history web --limit 5\n  agent history --output json | jq '.[0].state'",
		Args:              arguments(0, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFilter(&filter, args); err != nil {
				return err
			}
			src, err := in.open(cmd.Context())
			if err != nil {
				return err
			}
			defer src.Close()
			list, err := collect(cmd.Context(), src, filter)
			if err != nil {
				return err
			}
			if in.json() {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printHistory(cmd.OutOrStdout(), list, time.Now())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&filter.Service, "service", "s", "", "only deployments of this `NAME`")
	flags.IntVar(&filter.Limit, "limit", control.DefaultPage, "at most `N` deployments; 0: all")
	flags.Int64Var(&filter.Before, "before", 0, "only deployments older than this `ID`")
	if err := cmd.RegisterFlagCompletionFunc("service", in.completeServices); err != nil {
		panic(err)
	}
	return cmd
}

func checkFilter(filter *agent.HistoryFilter, args []string) error {
	switch {
	case filter.Limit < 0 || filter.Before < 0:
		return usage(fmt.Errorf("--limit and --before must not be negative"), "--limit 0 lists all")
	case len(args) == 0:
		return nil
	case filter.Service != "" && filter.Service != args[0]:
		return usage(fmt.Errorf("two services are named: %q and %q", filter.Service, args[0]), "name one of them, or none for all")
	}
	filter.Service = args[0]
	return nil
}

// collect reads page by page until there is enough.
func collect(ctx context.Context, src source, filter agent.HistoryFilter) ([]control.Deployment, error) {
	all, want := []control.Deployment{}, filter.Limit
	for {
		filter.Limit = control.MaxPage
		if want > 0 {
			filter.Limit = min(control.MaxPage, want-len(all))
		}
		page, err := src.Deployments(ctx, filter)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < filter.Limit || len(all) == want {
			return all, nil
		}
		filter.Before = page[len(page)-1].ID
	}
}

func printHistory(w io.Writer, list []control.Deployment, now time.Time) error {
	t := newTable("ID", "SERVICE", "KIND", "STATE", "REASON", "RELEASES", "IMAGE", "STARTED", "TOOK", "BY")
	for _, d := range list {
		t.add(strconv.FormatInt(d.ID, 10), d.Service, string(d.Kind), string(d.State), word(d.Reason), moved(d),
			images(d.Artifacts), ago(d.StartedAt, now), duration(d), word(d.Actor))
	}
	if len(list) == 0 {
		t.head = []string{"no deployments"}
	}
	return t.print(w)
}

// moved is "r2→r4 (r5)": from, to, and what an automatic rollback made.
func moved(d control.Deployment) string {
	text := agent.ReleaseName(d.To)
	if d.From != 0 && d.From != d.To {
		text = agent.ReleaseName(d.From) + "→" + text
	}
	if d.Restored != 0 {
		text += " (" + agent.ReleaseName(d.Restored) + ")"
	}
	return text
}

func duration(d control.Deployment) string {
	return took(time.Duration(d.DurationMS) * time.Millisecond)
}
