package testbed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// cleanupTime bounds what is done after a test; the test's own context is over
// by then.
const cleanupTime = time.Minute

var errCleanup = errors.New("cleaning up took longer than a minute")

// Docker returns a client of the engine that DOCKER_HOST names, or of the one at
// its usual socket. Images and containers of this testbed go when the test ends.
func (tb *Testbed) Docker(t testing.TB) *client.Client {
	t.Helper()
	docker := tb.docker()
	if docker == nil {
		t.Fatal("the tests need a Docker engine: run scripts/docker.sh")
	}
	return docker
}

// connect returns nil when no engine answers.
func (tb *Testbed) connect() *client.Client {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		tb.t.Errorf("connecting to the Docker engine: %v", err)
		return nil
	}
	if _, err := docker.Ping(tb.t.Context(), client.PingOptions{}); err != nil {
		tb.t.Errorf("asking the Docker engine: %v", err)
		return nil
	}
	tb.t.Cleanup(func() {
		cleanUp(tb.t, docker, "label", RunLabel+"="+tb.Run)
		docker.Close()
	})
	return docker
}

// Project returns a name for a compose project that nobody else has. Its
// containers, networks and volumes go when the test ends.
func (tb *Testbed) Project(t testing.TB) string {
	t.Helper()
	docker := tb.Docker(t)
	project := "tb" + strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() { cleanUp(t, docker, "label", "com.docker.compose.project="+project) })
	return project
}

func cleanUp(t testing.TB, docker *client.Client, term, value string) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), cleanupTime, errCleanup)
	defer cancel()
	if err := CleanUp(ctx, docker, make(client.Filters).Add(term, value)); err != nil {
		t.Errorf("cleaning up: %v", err)
	}
}

// CleanUp removes the containers, networks, volumes and images that match, all
// tags of the images included.
func CleanUp(ctx context.Context, docker *client.Client, match client.Filters) error {
	return errors.Join(
		removeContainers(ctx, docker, match),
		removeNetworks(ctx, docker, match),
		removeVolumes(ctx, docker, match),
		removeImages(ctx, docker, match),
	)
}

func removeContainers(ctx context.Context, docker *client.Client, match client.Filters) error {
	found, err := docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: match})
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	var errs []error
	for _, c := range found.Items {
		_, err := docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		errs = append(errs, ignoreGone(err))
	}
	return errors.Join(errs...)
}

func removeNetworks(ctx context.Context, docker *client.Client, match client.Filters) error {
	found, err := docker.NetworkList(ctx, client.NetworkListOptions{Filters: match})
	if err != nil {
		return fmt.Errorf("listing networks: %w", err)
	}
	var errs []error
	for _, n := range found.Items {
		_, err := docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		errs = append(errs, ignoreGone(err))
	}
	return errors.Join(errs...)
}

func removeVolumes(ctx context.Context, docker *client.Client, match client.Filters) error {
	found, err := docker.VolumeList(ctx, client.VolumeListOptions{Filters: match})
	if err != nil {
		return fmt.Errorf("listing volumes: %w", err)
	}
	var errs []error
	for _, v := range found.Items {
		_, err := docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
		errs = append(errs, ignoreGone(err))
	}
	return errors.Join(errs...)
}

func removeImages(ctx context.Context, docker *client.Client, match client.Filters) error {
	found, err := docker.ImageList(ctx, client.ImageListOptions{Filters: match})
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	var errs []error
	for _, i := range found.Items {
		_, err := docker.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{Force: true, PruneChildren: true})
		errs = append(errs, ignoreGone(err))
	}
	return errors.Join(errs...)
}

// ignoreGone forgives that somebody else was faster.
func ignoreGone(err error) error {
	if errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return err
}
