// The agent of a host: see package cli for its commands.
package main

import (
	"context"
	"os"

	"rollback-agent/agent"
	"rollback-agent/agent/cli"
	"rollback-agent/agent/config"
	"rollback-agent/agent/daemon"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr,
		cli.Agent{Run: run, Check: daemon.Check, Propose: daemon.Propose, Probe: probe}))
}

func run(ctx context.Context, o cli.Options) error {
	return daemon.Main(ctx, daemon.Options{Config: o.Config, StateDir: o.StateDir, Socket: o.Socket, Version: o.Version})
}

func probe(ctx context.Context, cfg *config.Config, scope cli.ProbeScope, report func(agent.Finding)) {
	daemon.Probe(ctx, cfg, daemon.ProbeOptions(scope), report)
}
