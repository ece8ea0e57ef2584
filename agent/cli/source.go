package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/control"
	"rollback-agent/agent/history"
)

// source tells what is and what was: the running agent, or the history read
// without one.
type source interface {
	Status(ctx context.Context) ([]agent.Status, error)
	Notices(ctx context.Context) ([]agent.Notice, error)
	Deployments(ctx context.Context, filter agent.HistoryFilter) ([]control.Deployment, error)
	Deployment(ctx context.Context, id int64) (control.Deployment, error)
	Release(ctx context.Context, service string, n int64) (agent.Release, error)
	LastEvents(ctx context.Context, n int, follow bool, connected func() error, report func(agent.Event) error) error
	Close() error
}

// online is the running agent.
type online struct{ *control.Client }

func (online) Close() error { return nil }

// paths are where the agent of this host keeps its things.
type paths struct{ history, socket string }

// paths looks at flags, config and defaults. A config that is missing or faulty
// does not matter here: the agent may be running with the last good one.
func (in *invocation) paths() paths {
	stateDir, socket := in.stateDir, in.socket
	if stateDir == "" || socket == "" {
		cfg, _ := config.Load(in.config)
		stateDir, socket = cmp.Or(stateDir, cfg.StateDir), cmp.Or(socket, cfg.Socket)
	}
	return paths{history: filepath.Join(stateDir, "history.db"), socket: socket}
}

// open asks the running agent if there is one, else opens the history. A state
// directory that is named alone is looked at first: the agent on the default
// socket may be another one's.
func (in *invocation) open(ctx context.Context) (source, error) {
	if err := in.configExists(); err != nil {
		return nil, err
	}
	at := in.paths()
	if in.explicit("state-dir") && !in.explicit("socket") {
		if store, err := history.OpenReadOnly(at.history); !errors.Is(err, history.ErrInUse) {
			return offline{store}, err
		}
	}
	client := control.NewClient(at.socket, 0)
	_, dialErr := client.Version(ctx)
	if dialErr == nil {
		return online{client}, nil
	}
	store, err := history.OpenReadOnly(at.history)
	switch {
	case err == nil:
		return offline{store}, nil
	case errors.Is(err, history.ErrInUse):
		return waitForAgent(ctx, at)
	case errors.Is(err, fs.ErrNotExist):
		return nil, dialErr
	case !errors.Is(dialErr, control.ErrNotRunning):
		return nil, dialErr // the socket is there, and not for this user
	}
	return nil, err
}

// waitForAgent gives an agent that has the history open the time to answer.
func waitForAgent(ctx context.Context, at paths) (source, error) {
	client := control.NewClient(at.socket, control.DefaultPatience)
	if _, err := client.Version(ctx); err != nil {
		hint := "is this the socket of that agent? See --socket and --config"
		return nil, agent.WithHint(fmt.Errorf("history %s is in use, and no agent answers on socket %s", at.history, at.socket), hint)
	}
	return online{client}, nil
}

// configExists refuses a config that was named and cannot be found.
func (in *invocation) configExists() error {
	if !in.explicit("config") {
		return nil
	}
	if _, err := os.Stat(in.config); err != nil {
		return usage(fmt.Errorf("reading the config: %w", err), "name another with --config")
	}
	return nil
}

// client is for orders, which need the agent.
func (in *invocation) client() (*control.Client, error) {
	if err := in.configExists(); err != nil {
		return nil, err
	}
	return control.NewClient(in.paths().socket, control.DefaultPatience), nil
}
