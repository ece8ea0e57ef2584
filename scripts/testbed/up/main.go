// Command up does the bare minimum that any deployment of a compose file must
// do, with the same Compose SDK that the agent uses: load the file, pull, up. It
// is what the benchmark measures the agent against, and prints the milliseconds.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
)

func main() {
	file := flag.String("f", "docker-compose.yml", "compose file")
	flag.Parse()
	took, err := up(context.Background(), *file)
	if err != nil {
		fmt.Fprintf(os.Stderr, "up: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(took.Milliseconds())
}

func up(ctx context.Context, file string) (time.Duration, error) {
	cli, err := command.NewDockerCli(command.WithCombinedStreams(io.Discard))
	if err != nil {
		return 0, fmt.Errorf("preparing the client: %w", err)
	}
	if err := cli.Initialize(flags.NewClientOptions()); err != nil {
		return 0, fmt.Errorf("connecting to the engine: %w", err)
	}
	service, err := compose.NewComposeService(cli)
	if err != nil {
		return 0, fmt.Errorf("preparing compose: %w", err)
	}
	began := time.Now()
	project, err := service.LoadProject(ctx, api.ProjectLoadOptions{ConfigPaths: []string{file}})
	if err != nil {
		return 0, fmt.Errorf("loading %s: %w", file, err)
	}
	if err := service.Pull(ctx, project, api.PullOptions{Quiet: true}); err != nil {
		return 0, fmt.Errorf("pulling the images of %s: %w", file, err)
	}
	err = service.Up(ctx, project, api.UpOptions{
		Create: api.CreateOptions{Recreate: api.RecreateDiverged, Inherit: true, QuietPull: true},
		Start:  api.StartOptions{Project: project},
	})
	return time.Since(began), err
}
