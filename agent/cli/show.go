package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
)

func (in *invocation) showCommand() *cobra.Command {
	var withDiff bool
	cmd := &cobra.Command{
		Use:   "show ID|NAME",
		Short: "Show one deployment in full",
		Long: `Show one deployment, or the newest one of a service: what it did and when, every
verdict with its evidence, what was found in failed containers, and what serves
now. With --diff it shows instead the lines in which the two releases differ.`,
		Example:           "  agent show 12\n  agent show web\n  agent show 12 --diff",
		Args:              arguments(1, 1, "deployment"),
		ValidArgsFunction: in.completeDeployments,
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := in.open(cmd.Context())
			if err != nil {
				return err
			}
			defer src.Close()
			d, err := find(cmd.Context(), src, args[0])
			if err != nil {
				return err
			}
			if withDiff {
				return in.showDiff(cmd.Context(), cmd.OutOrStdout(), src, d)
			}
			if in.json() {
				return printJSON(cmd.OutOrStdout(), d)
			}
			printDeployment(cmd.OutOrStdout(), d, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVar(&withDiff, "diff", false, "show the lines in which the releases differ")
	return cmd
}

// find reads a number, or takes the newest deployment of a service.
func find(ctx context.Context, src source, word string) (control.Deployment, error) {
	if id, ok := deploymentID(word); ok {
		return src.Deployment(ctx, id)
	}
	list, err := src.Deployments(ctx, agent.HistoryFilter{Service: word, Limit: 1})
	if err != nil {
		return control.Deployment{}, err
	}
	if len(list) == 0 {
		return control.Deployment{}, agent.WithHint(fmt.Errorf("there is no deployment of %q", word), "`agent history` lists them")
	}
	return list[0], nil
}

func printDeployment(w io.Writer, d control.Deployment, now time.Time) {
	fmt.Fprintf(w, "deployment %d of %s: %s (%s)\n", d.ID, d.Service, d.State, word(d.Reason))
	if d.Message != "" {
		fmt.Fprintf(w, "  %s\n", clean(d.Message))
	}
	fmt.Fprintf(w, "\n  kind      %s, by %s\n", d.Kind, word(d.Actor))
	fmt.Fprintf(w, "  releases  %s\n", moved(d))
	for _, a := range d.Artifacts {
		fmt.Fprintf(w, "  runs      %s: %s\n", a.Name, a.Short())
	}
	fmt.Fprintf(w, "  started   %s (%s), took %s\n", d.StartedAt.Local().Format(time.DateTime), ago(d.StartedAt, now), duration(d))
	fmt.Fprintf(w, "  serving   %s\n", servingText(d))
	printTimeline(w, d)
	printVerdicts(w, d)
	printDiagnoses(w, d.Diagnoses)
	if d.Hint != "" {
		fmt.Fprintf(w, "\nhint: %s\n", clean(d.Hint))
	}
}

func servingText(d control.Deployment) string {
	switch {
	case d.EndedAt == nil:
		return "looked up at the end; `agent status` shows it now"
	case d.Serving == agent.ServingNew:
		return "new (" + agent.ReleaseName(d.To) + ")"
	case d.Serving == agent.ServingOld && d.Restored != 0:
		return "old (" + agent.ReleaseName(d.Restored) + ", like " + agent.ReleaseName(d.From) + ")"
	case d.Serving == agent.ServingOld:
		return "old (" + agent.ReleaseName(d.From) + ")"
	case d.Serving == agent.ServingUnknown:
		return "unknown"
	}
	return string(d.Serving)
}

func printTimeline(w io.Writer, d control.Deployment) {
	if len(d.Timeline) == 0 {
		return
	}
	fmt.Fprintln(w, "\ntimeline")
	for _, s := range d.Timeline {
		fmt.Fprintln(w, step(s, d.StartedAt))
	}
}

// step is one line of a timeline, also while it is followed.
func step(s agent.Step, began time.Time) string {
	line := fmt.Sprintf("  %8s  %-15s  %-14s  %s", "+"+took(max(0, s.At.Sub(began))), s.State, s.Reason, clean(s.Detail))
	return strings.TrimRight(line, " ")
}

func printVerdicts(w io.Writer, d control.Deployment) {
	if len(d.Verdicts) == 0 {
		return
	}
	fmt.Fprintln(w, "\nverdicts")
	for _, v := range d.Verdicts {
		proof := ""
		if v.Unverified {
			proof = " (unverified)"
		}
		line := fmt.Sprintf("  %8s  %-11s  %-12s  %s%s", "+"+took(max(0, v.At.Sub(d.StartedAt))), v.Gate, v.Outcome, clean(v.Evidence), proof)
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func printDiagnoses(w io.Writer, all []agent.Diagnosis) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, "\ndiagnosis")
	for _, d := range all {
		fmt.Fprintf(w, "  %s (%s): %s\n", d.Instance, d.Artifact, condition(d))
		if d.HealthOutput != "" {
			fmt.Fprintf(w, "    health check said: %s\n", clean(d.HealthOutput))
		}
		for _, line := range d.Log {
			fmt.Fprintf(w, "    | %s\n", clean(line))
		}
	}
}

func condition(d agent.Diagnosis) string {
	text := string(d.Phase)
	if d.Phase == agent.PhaseExited || d.Phase == agent.PhaseRestarting || d.ExitCode != 0 {
		text += fmt.Sprintf(", exit code %d", d.ExitCode)
	}
	if d.OOMKilled {
		text += ", killed because it ran out of memory"
	}
	if d.Restarts > 0 {
		text += fmt.Sprintf(", %d restarts", d.Restarts)
	}
	return text
}

// difference is what --diff prints as JSON.
type difference struct {
	Deployment int64            `json:"deployment"`
	From       int64            `json:"from_release"`
	To         int64            `json:"to_release"`
	Before     []agent.Artifact `json:"from_artifacts"`
	After      []agent.Artifact `json:"to_artifacts"`
	Diff       string           `json:"diff"` // of the models, unified
}

func (in *invocation) showDiff(ctx context.Context, w io.Writer, src source, d control.Deployment) error {
	if d.To == 0 {
		return fmt.Errorf("deployment %d made no release", d.ID)
	}
	to, err := src.Release(ctx, d.Service, d.To)
	if err != nil {
		return err
	}
	var from agent.Release
	if d.From != 0 {
		if from, err = src.Release(ctx, d.Service, d.From); err != nil {
			return err
		}
	}
	diff := unified(agent.ReleaseName(d.From), agent.ReleaseName(d.To), from.Model, to.Model)
	if in.json() {
		return printJSON(w, difference{d.ID, d.From, d.To, from.Artifacts, to.Artifacts, diff})
	}
	return printDiff(w, diff, from, to)
}

func printDiff(w io.Writer, diff string, from, to agent.Release) error {
	before := map[string]string{}
	for _, a := range from.Artifacts {
		before[a.Name] = a.Short()
	}
	for _, a := range to.Artifacts {
		if now := a.Short(); before[a.Name] != now {
			fmt.Fprintf(w, "%s: %s → %s\n", a.Name, word(before[a.Name]), now)
		}
		delete(before, a.Name)
	}
	for _, a := range from.Artifacts {
		if _, gone := before[a.Name]; gone {
			fmt.Fprintf(w, "%s: %s → –\n", a.Name, a.Short())
		}
	}
	if diff == "" {
		diff = "the models do not differ\n"
	}
	var errs error
	for line := range strings.Lines(diff) {
		_, err := fmt.Fprintln(w, clean(strings.TrimSuffix(line, "\n")))
		errs = errors.Join(errs, err)
	}
	return errs
}
