package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rollback-agent/agent"
)

func (in *invocation) deployCommand() *cobra.Command {
	order, wait := agent.Order{Verb: agent.VerbDeploy}, noWait
	var chosen []string
	cmd := &cobra.Command{
		Use:   "deploy NAME",
		Short: "Deploy what is wanted now",
		Long: `Deploy what the files ask for now, with the images that the registry has now. Where
nothing differs there is nothing to do, and the reason is printed. What was rolled
back needs ` + "`agent retry`" + `; the exit code is 4 then.

With --image another image takes the place of the file's: an override. It is part of
what is wanted, and shown by ` + "`agent status`" + `, until the file names another image
itself, or until --no-override.

With --irreversible the deployment is held, and people are asked, where it would be
rolled back: going back would not undo what it does, as with a migration of a
database. An image says the same of itself with the label
rollback-agent.irreversible=true.

With --wait every step is printed as it happens, and the exit code says how it
ended. Ctrl-C ends the waiting only; the deployment goes on.`,
		Example: `  agent deploy web
  agent deploy web --wait --note "release 1.4"
  agent deploy web --image web=registry.example.com/acme/web:1.5-hotfix
  agent deploy web --no-override`,
		Args:              arguments(1, 1, "service"),
		ValidArgsFunction: in.completeServices,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if order.Images, err = imagesChosen(chosen); err != nil {
				return err
			}
			return in.simpleOrder(&order, &wait)(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&order.Force, "force", false, "deploy although nothing differs, or it was rolled back; containers that run it already stay")
	flags.StringArrayVar(&chosen, "image", nil, "run `[COMPOSE_SERVICE=]REF` instead of what the file names; may be repeated")
	flags.BoolVar(&order.NoOverride, "no-override", false, "let the file's own images count again")
	flags.BoolVar(&order.Irreversible, "irreversible", false, "hold and ask, never roll back by itself")
	waitFlag(cmd, &wait)
	noteFlag(cmd, &order)
	return cmd
}

// imagesChosen reads what follows each --image. A reference holds no "=".
func imagesChosen(chosen []string) (map[string]string, error) {
	var images map[string]string
	for _, text := range chosen {
		name, ref, named := strings.Cut(text, "=")
		if !named {
			name, ref = "", text
		}
		_, twice := images[name]
		switch {
		case ref == "" || named && name == "":
			return nil, usage(fmt.Errorf("--image %q names no image", text), "--image web=registry.example.com/acme/web:1.5")
		case twice:
			return nil, usage(fmt.Errorf("--image is given twice for the same compose service: %q", text), "")
		}
		if images == nil {
			images = map[string]string{}
		}
		images[name] = ref
	}
	return images, nil
}
