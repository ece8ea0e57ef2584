package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

// order gives an order and prints what became of it; with wait it follows the
// deployment that it began.
func (in *invocation) order(cmd *cobra.Command, order agent.Order, wait waiting) error {
	if err := wait.check(); err != nil {
		return err
	}
	client, err := in.client()
	if err != nil {
		return err
	}
	receipt, err := client.Order(cmd.Context(), order)
	if err != nil {
		return err
	}
	follow := wait != noWait && receipt.Deployment != 0
	if !in.json() {
		printReceipt(cmd, receipt)
	}
	if !follow {
		if in.json() {
			err = printJSON(cmd.OutOrStdout(), receipt)
		}
		return errors.Join(err, refused(receipt.Plan))
	}
	return in.wait(cmd, client, order.Verb, receipt.Deployment, wait)
}

// refused is the exit code of a plan that leaves something wanted undone: it is no
// success that another version serves.
func refused(plan agent.Plan) error {
	if plan.Reason == agent.ReasonQuarantined {
		return exit{nil, exitRolledBack}
	}
	return nil
}

func printReceipt(cmd *cobra.Command, receipt agent.Receipt) {
	message := receipt.Message
	if message == "" {
		message = wanted(receipt.Plan)
	}
	fmt.Fprintln(cmd.OutOrStdout(), clean(message))
	if receipt.Hint != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "agent: hint: %s\n", clean(receipt.Hint))
	}
}

// waiting is how long a command follows the deployment it began.
type waiting string

const (
	noWait    waiting = ""
	waitEnd   waiting = "end"   // a held deployment is an end
	waitFinal waiting = "final" // a human's decision is waited for, too
)

func (w waiting) check() error {
	if w == noWait || w == waitEnd || w == waitFinal {
		return nil
	}
	return usage(fmt.Errorf("unknown --wait=%s", string(w)), "use --wait, or --wait=final to wait until a held deployment is decided")
}

func waitFlag(cmd *cobra.Command, wait *waiting) {
	flags := cmd.Flags()
	flags.StringVar((*string)(wait), "wait", "", "follow the deployment to its `end`; final: beyond a hold")
	flags.Lookup("wait").NoOptDefVal = string(waitEnd)
	mustComplete(cmd, "wait", []string{string(waitEnd), string(waitFinal)})
}

func noteFlag(cmd *cobra.Command, order *agent.Order) {
	cmd.Flags().StringVar(&order.Note, "note", "", "why, in your own `WORDS`; it is kept with the order")
}

// simpleOrder is a command that names one service.
func (in *invocation) simpleOrder(order *agent.Order, wait *waiting) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		order.Service = args[0]
		return in.order(cmd, *order, *wait)
	}
}

// deploymentOrder is a command that names one deployment, or the open one of a
// service.
func (in *invocation) deploymentOrder(order *agent.Order) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if id, ok := deploymentID(args[0]); ok {
			order.Deployment = id
		} else {
			order.Service = args[0]
		}
		return in.order(cmd, *order, noWait)
	}
}

// errInterrupted is the cause when a human stops a command that waits.
var errInterrupted = errors.New("interrupted")

func interrupted(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), errInterrupted)
}
