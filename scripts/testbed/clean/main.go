// Command clean removes the containers, networks, volumes and images that carry
// a label, from the engine that DOCKER_HOST names or the one at its usual socket.
//
//	clean -label com.docker.compose.project=shop
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/moby/moby/client"

	"rollback-agent/agent/testbed"
)

var errSlow = errors.New("the engine took longer than a minute")

func main() {
	label := flag.String("label", "", "KEY=VALUE")
	flag.Parse()
	if err := clean(*label); err != nil {
		fmt.Fprintf(os.Stderr, "clean: %v\n", err)
		os.Exit(1)
	}
}

func clean(label string) error {
	if label == "" {
		return errors.New("-label is missing")
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errSlow)
	defer cancel()
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return fmt.Errorf("connecting to the engine: %w", err)
	}
	defer docker.Close()
	return testbed.CleanUp(ctx, docker, make(client.Filters).Add("label", label))
}
