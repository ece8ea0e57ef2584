package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

// proposed is what `agent init` prints as JSON.
type proposed struct {
	Services []string      `json:"services"`
	Text     string        `json:"text"`    // the config, as TOML
	Written  string        `json:"written"` // where it stands now, "" when it was only printed
	Notes    []string      `json:"notes"`
	Faults   []agent.Fault `json:"faults"`
}

func (in *invocation) initCommand(wiring Agent) *cobra.Command {
	write := false
	cmd := &cobra.Command{
		Use:   "init [FILE...]",
		Short: "Propose a config for compose files",
		Long: `Read compose files, look at what of them runs on this host, and print a config: one
service for each file, with the health that it really answers. A directory stands
for the compose file in it. Without FILE, every compose project that runs on this
host's engine is proposed.

Nothing is changed. With --write the config is put where --config says, unless there
is one. A file that cannot be used is an error of its own, the others are proposed,
and the exit code is 2.`,
		Example: "  agent init\n  agent init /opt/myapp/docker-compose.yml\n  agent init /opt/myapp --write",
		RunE: func(cmd *cobra.Command, args []string) error {
			if write {
				if err := vacant(in.config); err != nil {
					return err
				}
			}
			proposal, err := wiring.Propose(cmd.Context(), args)
			if err != nil {
				return err
			}
			return in.propose(cmd, proposal, write)
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "put the config where --config says")
	return cmd
}

// propose prints a proposal, or writes it. Faults are told last: they are what a
// human has to look at.
func (in *invocation) propose(cmd *cobra.Command, p config.Proposal, write bool) error {
	result := proposed{Services: append([]string{}, p.Services...), Text: p.Text, Notes: append([]string{}, p.Notes...), Faults: append([]agent.Fault{}, p.Faults...)}
	if len(p.Services) == 0 {
		result.Text, write = "", false
	}
	if write {
		if err := writeNew(in.config, p.Text); err != nil {
			return err
		}
		result.Written = in.config
		_, unusable := config.Load(in.config)
		result.Faults = append(result.Faults, unusable...)
	}
	if in.json() {
		if err := printJSON(cmd.OutOrStdout(), result); err != nil {
			return err
		}
	} else if err := in.printProposal(cmd, result); err != nil {
		return err
	}
	if len(result.Faults) > 0 {
		return exit{nil, exitUsage}
	}
	return nil
}

func (in *invocation) printProposal(cmd *cobra.Command, p proposed) error {
	stderr := cmd.ErrOrStderr()
	if p.Written == "" {
		if _, err := io.WriteString(cmd.OutOrStdout(), p.Text); err != nil {
			return err
		}
	}
	for _, note := range p.Notes {
		fmt.Fprintf(stderr, "agent: note: %s\n", clean(note))
	}
	printFaults(stderr, p.Faults)
	if len(p.Services) > 0 {
		in.printNext(stderr, p)
	}
	return nil
}

// printNext says how to go on.
func (in *invocation) printNext(w io.Writer, p proposed) {
	first := fmt.Sprintf("read it, then keep it: the same with --write --config %s", in.config)
	if p.Written != "" {
		first = fmt.Sprintf("read it and mend it: %s (%s)", p.Written, services(len(p.Services)))
	}
	fmt.Fprintf(w, "next: %s\nnext: agent check --probe --config %s\nnext: agent run --config %s\n", first, in.config, in.config)
}

// vacant refuses to take the place of a config.
func vacant(path string) error {
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return agent.WithHint(fmt.Errorf("looking for a config: %w", err), "name another place with --config")
	}
	return usage(fmt.Errorf("%s is there already, and is not overwritten", path),
		"write elsewhere with --config FILE, or without --write take from what is printed what you need")
}

// writeNew writes a config that only root can change, and leaves nothing behind
// when it cannot.
func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return agent.WithHint(fmt.Errorf("making the directory of the config: %w", err), "run as root, or write elsewhere with --config FILE")
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return vacant(path)
	case err != nil:
		return agent.WithHint(fmt.Errorf("writing the config: %w", err), "run as root, or write elsewhere with --config FILE")
	}
	_, err = io.WriteString(file, text)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()) // whatever the umask says, nobody else may write it
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(path))
	}
	return nil
}

func services(n int) string {
	if n == 1 {
		return "1 service"
	}
	return fmt.Sprintf("%d services", n)
}
