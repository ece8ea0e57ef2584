package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

// checked is what `agent check` prints as JSON.
type checked struct {
	Config   string          `json:"config"`
	Services []string        `json:"services"` // those that can be used
	Faults   []agent.Fault   `json:"faults"`
	Probes   []agent.Finding `json:"probes,omitempty"` // with --probe or --send-test
}

// wrong tells whether a fault is more than a warning.
func (c checked) wrong() bool {
	return slices.ContainsFunc(c.Faults, func(f agent.Fault) bool { return !f.Warning })
}

func (in *invocation) checkCommand(wiring Agent) *cobra.Command {
	var scope ProbeScope
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report every fault of the config",
		Long: `Read the config, everything it includes, and the compose files of its services,
and report every fault at once. Nothing is asked of the engine, a registry or the
running agent, unless --probe says so.

With --probe everything that the config names is asked: the engine, each image's
registry and its login, the files and their watches, the agent's own directories, the
health of what runs, Slack. The agent may run meanwhile, and nothing is changed.

It ends with exit code 2 when there is a fault, 1 when a probe failed, 0 when there
are warnings only.`,
		Example: "  agent check\n  agent check --config ./config.toml\n  agent check --probe\n  agent check --send-test",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, result, err := in.read(cmd, wiring)
			if err != nil {
				return err
			}
			if !in.json() {
				in.printChecked(cmd, result)
			}
			if scope.any() {
				result.Probes = in.probe(cmd, wiring, cfg, scope)
			}
			if in.json() {
				if err := printJSON(cmd.OutOrStdout(), result); err != nil {
					return err
				}
			}
			if result.wrong() {
				return exit{nil, exitUsage}
			}
			return probed(result.Probes)
		},
	}
	probeFlags(cmd, &scope)
	return cmd
}

// read finds the faults of the config and of what it names, offline.
func (in *invocation) read(cmd *cobra.Command, wiring Agent) (*config.Config, checked, error) {
	cfg, faults := config.Load(in.config)
	faults = append(slices.Clone(faults), cfg.Faults()...)
	described, err := wiring.Check(cmd.Context(), cfg)
	if err != nil {
		return cfg, checked{}, err
	}
	faults = append(faults, described...)
	result := checked{Config: in.config, Services: []string{}, Faults: append([]agent.Fault{}, faults...)}
	for _, svc := range cfg.Services {
		result.Services = append(result.Services, svc.Name)
	}
	return cfg, result, nil
}

func (in *invocation) printChecked(cmd *cobra.Command, result checked) {
	printFaults(cmd.ErrOrStderr(), result.Faults)
	if !result.wrong() {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is fine, %s checked\n", result.Config, count(len(result.Services), "service"))
	}
}
