package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
)

// knownCommand refuses words that are no command, and guesses what was meant.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return usage(fmt.Errorf("unknown command %q", args[0]), guess(args[0], names, "agent ", "`agent --help` lists the commands"))
}

// unknownFlag explains what is wrong with the flags, and guesses what was meant.
func unknownFlag(cmd *cobra.Command, err error) error {
	hint := fmt.Sprintf("see `%s --help`", cmd.CommandPath())
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		hint = guess(unknown.GetSpecifiedName(), names, "--", hint)
	}
	return usage(err, hint)
}

// guess says what may have been meant, else otherwise.
func guess(word string, names []string, prefix, otherwise string) string {
	list := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range names {
		list.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	if near := list.SuggestionsFor(word); len(near) > 0 {
		return fmt.Sprintf("did you mean `%s%s`?", prefix, strings.Join(near, "` or `"+prefix))
	}
	return otherwise
}

// arguments wants between least and most of them, called what.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := fmt.Sprintf("usage: %s", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		switch {
		case len(args) < least:
			return usage(fmt.Errorf("%s: no %s given", cmd.CommandPath(), what), hint)
		case len(args) > most:
			return usage(fmt.Errorf("%s: unexpected %q", cmd.CommandPath(), args[most]), hint)
		}
		return nil
	}
}

// deploymentID reads "12" or "#12".
func deploymentID(text string) (int64, bool) {
	id, err := strconv.ParseInt(strings.TrimPrefix(text, "#"), 10, 64)
	return id, err == nil && id > 0
}

// releaseNumber reads "r7" or "7".
func releaseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(text, "r"), 10, 64)
	if err != nil || n <= 0 {
		return 0, usage(fmt.Errorf("%q is no release", text), "releases are named r1, r2, …; `agent history` shows them")
	}
	return n, nil
}

// mustComplete makes the shell offer words for a flag. It fails only when the
// flag does not exist, which every test would notice.
func mustComplete(cmd *cobra.Command, flag string, words []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err)
	}
}

// completeServices offers the names of the services, from the running agent.
func (in *invocation) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := control.NewClient(in.paths().socket, 0).Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Service
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeDeployments offers the numbers of the newest deployments, with what
// they are about.
func (in *invocation) completeDeployments(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	page, err := control.NewClient(in.paths().socket, 0).Deployments(cmd.Context(), agent.HistoryFilter{Limit: control.DefaultPage})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	words := make([]string, len(page))
	for i, d := range page {
		words[i] = fmt.Sprintf("%d\t%s: %s", d.ID, d.Service, d.State)
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
