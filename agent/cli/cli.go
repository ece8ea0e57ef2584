// Package cli is the command line: one file for each command, one printer for
// people and one for machines.
//
// Its one promise: what is printed as JSON and every exit code are an API.
// It decides nothing about services; commands ask the running agent, or read
// the history themselves when none runs.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/control"
)

// The exit codes. They are documented in the help of the agent command.
const (
	exitFine           = 0
	exitError          = 1 // also failed, superseded, cancelled
	exitUsage          = 2 // also a faulty config
	exitNotRunning     = 3
	exitRolledBack     = 4
	exitRollbackFailed = 5
	exitHeld           = 6
	exitInterrupted    = 130
)

// Options are what `agent run` is told on the command line. An empty StateDir or
// Socket leaves it to the config.
type Options struct {
	Config   string
	StateDir string
	Socket   string
	Version  string
}

// Agent is what commands need of the agent's wiring.
type Agent struct {
	// Run runs the agent itself until ctx ends or it is told to stop.
	Run func(ctx context.Context, options Options) error
	// Check reports, offline, what is wrong with what the services describe.
	Check func(ctx context.Context, cfg *config.Config) (agent.Faults, error)
	// Propose makes a config of compose files; without any, of what runs.
	Propose func(ctx context.Context, files []string) (config.Proposal, error)
	// Probe asks the world about everything that the config names.
	Probe Probe
}

// Probe asks the world, and reports one finding after the other, in an order that
// is always the same. It changes nothing; Scope.SendTest sends a message.
type Probe func(ctx context.Context, cfg *config.Config, scope ProbeScope, report func(agent.Finding))

// Main runs one command line, without the program's name, and returns the exit
// code of the process.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, wiring Agent) int {
	root := newRoot(wiring)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	complain(stderr, err)
	return code(err)
}

// invocation is what the global flags say.
type invocation struct {
	config   string
	stateDir string
	socket   string
	output   string
	explicit func(flag string) bool // was it given on the command line?
}

const defaultConfig = "/etc/rollback-agent/config.toml"

func newRoot(wiring Agent) *cobra.Command {
	in := &invocation{}
	root := &cobra.Command{
		Use:   "agent",
		Short: "Deploy what changed, prove it healthy, put the last good release back",
		Long: `The agent watches the compose files of this host. It deploys what changed, proves
that the new release is healthy, and puts the last good release back by itself
when it is not.

Exit codes: 0 fine, also nothing to do; 1 error, or a deployment that failed, was
superseded or cancelled; 2 usage or config; 3 the agent is not running; 4 rolled
back; 5 the rollback failed; 6 held; 130 interrupted while waiting, the
deployment goes on.`,
		Example:       "  agent check\n  agent status\n  agent deploy web --wait",
		Version:       Version().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&in.config, "config", defaultConfig, "config `FILE`")
	flags.StringVar(&in.stateDir, "state-dir", "", "`DIRECTORY` of the history (default: as the config says)")
	flags.StringVar(&in.socket, "socket", "", "`PATH` of the agent's socket (default: as the config says)")
	flags.StringVarP(&in.output, "output", "o", "table", "output format: table or json")
	in.explicit = func(flag string) bool { return flags.Changed(flag) }
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return in.check() }
	root.SetFlagErrorFunc(unknownFlag)
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(
		in.runCommand(wiring), in.checkCommand(wiring), in.initCommand(wiring), in.statusCommand(), in.planCommand(), in.historyCommand(), in.showCommand(),
		in.deployCommand(), in.rollbackCommand(), in.retryCommand(), in.cancelCommand(), in.keepCommand(),
		in.pauseCommand(), in.resumeCommand(), in.eventsCommand(), in.versionCommand(),
	)
	mustComplete(root, "output", []string{"table", "json"})
	return root
}

func (in *invocation) check() error {
	if in.output != "table" && in.output != "json" {
		return usage(fmt.Errorf("unknown output format %q", in.output), "use --output table or --output json")
	}
	return nil
}

func (in *invocation) json() bool { return in.output == "json" }

// exit is an error with an exit code of its own. Without text, everything was
// said already.
type exit struct {
	error
	code int
}

func (e exit) Unwrap() error { return e.error }

func usage(err error, hint string) error { return exit{agent.WithHint(err, hint), exitUsage} }

func code(err error) int {
	if err == nil {
		return exitFine
	}
	if e, ok := errors.AsType[exit](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[agent.Faults](err); ok {
		return exitUsage
	}
	if errors.Is(err, control.ErrNotRunning) {
		return exitNotRunning
	}
	return exitError
}

// complain prints what is wrong, then what can be done about it.
func complain(w io.Writer, err error) {
	if e, ok := errors.AsType[exit](err); err == nil || (ok && e.error == nil) {
		return
	}
	if faults, ok := errors.AsType[agent.Faults](err); ok {
		printFaults(w, faults)
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "agent: error: %s\n", line)
	}
	if hint := agent.Hint(err); hint != "" {
		fmt.Fprintf(w, "agent: hint: %s\n", hint)
	}
}

func printFaults(w io.Writer, faults agent.Faults) {
	for _, fault := range faults {
		level := "error"
		if fault.Warning {
			level = "warning"
		}
		fmt.Fprintf(w, "agent: %s: %s\n", level, fault)
		if fault.Hint != "" {
			fmt.Fprintf(w, "agent: hint: %s\n", fault.Hint)
		}
	}
}
