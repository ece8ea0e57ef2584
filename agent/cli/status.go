package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
)

func (in *invocation) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show every service on one screen",
		Long: `Show what serves, since when and how healthy it is, and why what is wanted is not
deployed: quarantined, paused, delayed, drift, idle, or invalid files.

Without a running agent the command shows what was recorded last, and ends with
exit code 3.`,
		Example:           "  agent status\n  agent status web --output json",
		Args:              arguments(0, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := in.open(cmd.Context())
			if err != nil {
				return err
			}
			defer src.Close()
			all, err := src.Status(cmd.Context())
			if err != nil {
				return err
			}
			if all, err = onlyService(all, args); err != nil {
				return err
			}
			notices, err := src.Notices(cmd.Context())
			if err != nil {
				return err
			}
			if in.json() {
				err = printJSON(cmd.OutOrStdout(), all)
				printNotices(cmd.ErrOrStderr(), notices, time.Now())
			} else {
				err = printStatus(cmd.OutOrStdout(), all, time.Now())
				printNotices(cmd.OutOrStdout(), notices, time.Now())
			}
			if _, recorded := src.(offline); recorded && err == nil {
				return agent.WithHint(control.ErrNotRunning, "systemctl start rollback-agent")
			}
			return err
		},
	}
}

// printNotices tells what concerns the host as a whole.
func printNotices(w io.Writer, notices []agent.Notice, now time.Time) {
	for _, n := range notices {
		since := ""
		if !n.Since.IsZero() {
			since = " (" + ago(n.Since, now) + ")"
		}
		fmt.Fprintf(w, "agent: warning: %s: %s%s\n", n.Subject, clean(n.Message), since)
		if n.Hint != "" {
			fmt.Fprintf(w, "agent: hint: %s\n", clean(n.Hint))
		}
	}
}

func onlyService(all []agent.Status, args []string) ([]agent.Status, error) {
	if len(args) == 0 {
		return all, nil
	}
	all = slices.DeleteFunc(all, func(s agent.Status) bool { return s.Service != args[0] })
	if len(all) == 0 {
		return nil, unknownService(args[0])
	}
	return all, nil
}

func printStatus(w io.Writer, all []agent.Status, now time.Time) error {
	t := newTable("SERVICE", "STATE", "RELEASE", "IMAGE", "SINCE", "HEALTH", "WANTED")
	for _, s := range all {
		t.add(s.Service, s.State, agent.ReleaseName(s.Release), images(s.Artifacts), ago(s.Since, now), s.Healthy, wanted(s.Plan))
		for _, a := range s.Artifacts[min(1, len(s.Artifacts)):] {
			t.remark("%s", a.Short())
		}
		remarks(t, s, now)
	}
	if len(all) == 0 {
		t.head = []string{"no services"}
	}
	return t.print(w)
}

func remarks(t *table, s agent.Status, now time.Time) {
	if s.Error != "" {
		t.remark("error: %s", s.Error)
	}
	if s.Pause != nil {
		t.remark("paused %s by %s%s%s", ago(s.Pause.At, now), s.Pause.By, until(s.Pause.Until), note(s.Pause.Note))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Overrides)) {
		o := s.Overrides[name]
		t.remark("override: %s is to run %s by the word of %s, %s; new images of %s are not deployed until `agent deploy %s --no-override`", name, o.Ref, o.By, ago(o.At, now), o.FileRef, s.Service)
	}
	quarantineRemarks(t, s, now)
	for _, warning := range s.Warnings {
		t.remark("warning: %s", warning)
	}
	if s.Hint != "" {
		t.remark("hint: %s", s.Hint)
	}
}

// shownQuarantined is how many rejected releases status names; the newest matter.
const shownQuarantined = 3

func quarantineRemarks(t *table, s agent.Status, now time.Time) {
	newest := slices.SortedFunc(slices.Values(s.Quarantine), func(a, b agent.Quarantined) int { return b.At.Compare(a.At) })
	for n, q := range newest {
		if n == shownQuarantined {
			t.remark("quarantined: %d more", len(newest)-n)
			return
		}
		t.remark("quarantined: %s, %s, deployment %d (%s)", otherImages(q.Artifacts, s.Artifacts), ago(q.At, now), q.Deployment, q.Reason)
	}
}

// otherImages names the images that differ from those that serve.
func otherImages(rejected, serving []agent.Artifact) string {
	other := slices.DeleteFunc(slices.Clone(rejected), func(a agent.Artifact) bool {
		return slices.ContainsFunc(serving, func(b agent.Artifact) bool { return a.Name == b.Name && a.Digest == b.Digest })
	})
	if len(other) == 0 && len(rejected) > 0 {
		return "another config of " + images(rejected)
	}
	return images(other)
}

// wanted says why what is wanted is, or is not, deployed.
func wanted(p agent.Plan) string {
	switch {
	case p.Reason == agent.ReasonUnchanged:
		return "serving"
	case p.Reason == "":
		return word(p.Detail)
	case p.Detail == "":
		return string(p.Reason)
	}
	return string(p.Reason) + ": " + p.Detail
}

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " until " + t.Local().Format(time.DateTime)
}

func note(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
