package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
)

// wait follows a deployment and returns its exit code as an error. An agent that
// restarts meanwhile is waited for.
func (in *invocation) wait(cmd *cobra.Command, client *control.Client, verb agent.Verb, id int64, until waiting) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	f := &follower{client: client, id: id, until: until, out: cmd.OutOrStdout()}
	if in.json() {
		f.out = io.Discard
	}
	d, err := f.follow(ctx)
	switch {
	case interrupted(ctx):
		fmt.Fprintf(cmd.ErrOrStderr(), "agent: hint: the deployment goes on; `agent show %d` shows it\n", id)
		return exit{nil, exitInterrupted}
	case err != nil:
		return err
	}
	if in.json() {
		err = printJSON(cmd.OutOrStdout(), d)
	} else {
		printEnd(cmd.OutOrStdout(), d)
	}
	return errors.Join(err, outcome(verb, d))
}

// interruptible ends with errInterrupted on Ctrl-C and SIGTERM.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	stop := context.AfterFunc(ctx, func() { signal.Stop(signals) })
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { stop(); signal.Stop(signals); cancel(nil) }
}

// follower prints the steps of one deployment as they happen.
type follower struct {
	client  *control.Client
	id      int64
	until   waiting
	out     io.Writer
	printed int // steps
	last    control.Deployment
}

// errArrived ends the stream of events when there is nothing more to wait for.
var errArrived = errors.New("arrived")

func (f *follower) follow(ctx context.Context) (control.Deployment, error) {
	for {
		look := func() error { return f.look(ctx) }
		err := f.client.LastEvents(ctx, 0, true, look, func(event agent.Event) error {
			if event.Deployment != f.id {
				return nil
			}
			return look()
		})
		switch {
		case errors.Is(err, errArrived):
			return f.last, nil
		case ctx.Err() != nil:
			return f.last, context.Cause(ctx)
		case err != nil:
			return f.last, err
		}
		// The stream ended: the agent stopped. The dialer waits for the next one.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// look prints what is new and tells whether that was all.
func (f *follower) look(ctx context.Context) error {
	d, err := f.client.Deployment(ctx, f.id)
	if err != nil {
		return err
	}
	f.last = d
	for ; f.printed < len(d.Timeline); f.printed++ {
		fmt.Fprintln(f.out, step(d.Timeline[f.printed], d.StartedAt))
	}
	if d.State.Ended() || (d.State == agent.StateHeld && f.until != waitFinal) {
		return errArrived
	}
	return nil
}

func printEnd(w io.Writer, d control.Deployment) {
	fmt.Fprintf(w, "deployment %d of %s: %s (%s) after %s\n", d.ID, d.Service, d.State, word(d.Reason), duration(d))
	if d.Message != "" {
		fmt.Fprintf(w, "  %s\n", clean(d.Message))
	}
	printDiagnoses(w, d.Diagnoses)
	if d.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", clean(d.Hint))
	}
}

// outcome is the exit code of a deployment. Whoever asked for a rollback got what
// they wanted when the older release serves.
func outcome(verb agent.Verb, d control.Deployment) error {
	back := d.State == agent.StateRolledBack || d.State == agent.StateCancelled && d.Serving == agent.ServingOld
	if verb == agent.VerbRollback && back {
		return nil
	}
	switch d.State {
	case agent.StateSucceeded:
		return nil
	case agent.StateRolledBack:
		return exit{nil, exitRolledBack}
	case agent.StateRollbackFailed:
		return exit{nil, exitRollbackFailed}
	case agent.StateHeld:
		return exit{nil, exitHeld}
	}
	return exit{nil, exitError}
}
