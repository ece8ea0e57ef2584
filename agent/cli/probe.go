package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

// ProbeScope says what `agent check` asks of the world.
type ProbeScope struct {
	World    bool // --probe
	SendTest bool // --send-test
}

func (s ProbeScope) any() bool { return s.World || s.SendTest }

func probeFlags(cmd *cobra.Command, scope *ProbeScope) {
	cmd.Flags().BoolVar(&scope.World, "probe", false, "ask the engine, the registries, this host, the health of what runs, and Slack")
	cmd.Flags().BoolVar(&scope.SendTest, "send-test", false, "send a message to Slack; without --probe nothing else is asked")
}

// probe asks, prints each finding as it comes, and returns them all.
func (in *invocation) probe(cmd *cobra.Command, wiring Agent, cfg *config.Config, scope ProbeScope) []agent.Finding {
	found := []agent.Finding{}
	if in.stateDir != "" {
		cfg.StateDir = in.stateDir
	}
	if in.socket != "" {
		cfg.Socket = in.socket
	}
	wiring.Probe(cmd.Context(), cfg, scope, func(f agent.Finding) {
		if found = append(found, f); !in.json() {
			printFinding(cmd.OutOrStdout(), f)
		}
	})
	return found
}

// printFinding prints one line, and what can be done about it below.
func printFinding(w io.Writer, f agent.Finding) {
	took := ""
	if f.TookMS > 0 && f.OK {
		took = fmt.Sprintf(", %d ms", f.TookMS)
	}
	fmt.Fprintf(w, "%-4s %-8s  %-28s  %s%s\n", verdict(f), f.Kind, clean(f.Name), clean(f.Detail), took)
	if f.Hint != "" {
		fmt.Fprintf(w, "agent: hint: %s\n", clean(f.Hint))
	}
}

func verdict(f agent.Finding) string {
	switch {
	case !f.OK:
		return "FAIL"
	case f.Warning:
		return "warn"
	}
	return "ok"
}

// probed is the error of a check that found something.
func probed(found []agent.Finding) error {
	bad := 0
	for _, f := range found {
		if !f.OK {
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	return exit{errors.New(plural(bad, len(found))), exitError}
}

func plural(bad, all int) string {
	if bad == 1 {
		return fmt.Sprintf("1 of %d probes failed", all)
	}
	return fmt.Sprintf("%d of %d probes failed", bad, all)
}
