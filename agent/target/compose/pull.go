package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"rollback-agent/agent"
)

// pull gets ref, which names content by digest. Its answer is 200 before
// anything was pulled; errors come inside the stream.
func (t *Target) pull(ctx context.Context, e *engine, ref, platform string, report func(done, total int64)) error {
	login, err := t.login(ref)
	if err != nil {
		return err
	}
	auth, err := authconfig.Encode(login)
	if err != nil {
		return fmt.Errorf("encoding the login for %s: %w", domainOf(ref), err)
	}
	options := client.ImagePullOptions{RegistryAuth: auth}
	if platform != "" {
		p, err := platforms.Parse(platform)
		if err != nil {
			return agent.Permanent(fmt.Errorf("reading the platform %q: %w", platform, err))
		}
		options.Platforms = []ocispec.Platform{p}
	}
	stream, err := e.client.ImagePull(ctx, ref, options)
	if err != nil {
		return explainPull(ref, e.wrap(ctx, err, "pulling %s", ref))
	}
	defer stream.Close()
	if err := follow(ctx, stream, report); err != nil {
		return explainPull(ref, e.wrap(ctx, err, "pulling %s", ref))
	}
	return nil
}

// follow reads the stream of a pull to its end.
func follow(ctx context.Context, stream client.ImagePullResponse, report func(done, total int64)) error {
	layers := map[string]jsonstream.Progress{}
	for message, err := range stream.JSONMessages(ctx) {
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case message.Error != nil:
			return message.Error
		}
		// "Extracting" counts the same bytes a second time.
		if message.Progress != nil && message.Status == "Downloading" && message.ID != "" {
			layers[message.ID] = *message.Progress
			var done, total int64
			for _, layer := range layers {
				done, total = done+layer.Current, total+layer.Total
			}
			report(done, total)
		}
	}
	return context.Cause(ctx)
}

// login returns the credentials for a reference, from Docker's config and its
// credential helpers.
func (t *Target) login(ref string) (registry.AuthConfig, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return registry.AuthConfig{}, agent.Permanent(fmt.Errorf("reading the image reference %q: %w", ref, err))
	}
	file, err := t.dockerConfig()
	if err != nil {
		return registry.AuthConfig{}, err
	}
	domain := reference.Domain(named)
	key := domain
	if domain == "docker.io" {
		key = "https://index.docker.io/v1/"
	}
	found, err := file.GetAuthConfig(key)
	if err != nil {
		return registry.AuthConfig{}, agent.WithHint(fmt.Errorf("getting the login for %s: %w", domain, err),
			"does the credential helper work for the user that runs the agent?")
	}
	return registry.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth,
		ServerAddress: found.ServerAddress, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	}, nil
}

// explainPull tells a refusal from an outage. Engines report both as text inside
// the stream, so text is all there is to go by.
func explainPull(ref string, err error) error {
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, agent.ErrUnreachable):
		return err
	case has("no space left on device", "disk quota exceeded"):
		return agent.WithHint(fmt.Errorf("%w: %w", agent.ErrNoSpace, err), "the engine's disk is full; `docker system df` shows what takes room")
	case errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || has("unauthorized", "denied", "no basic auth credentials"):
		return agent.WithHint(agent.Permanent(fmt.Errorf("%w: %w", agent.ErrSourceMissing, err)),
			"log in to "+domainOf(ref)+" as the user that runs the agent, or set docker_config in [registry]")
	case has("no matching manifest", "no match for platform"): // some engines add "not found"
		return agent.WithHint(agent.Permanent(err), "the image was not built for this host: push an index with "+platformIn(text))
	case has("verification failed", "unexpected commit digest", "failed size validation"):
		return agent.WithHint(err, "the registry, or something on the way to it, answers with other content than the digest names")
	case errdefs.IsNotFound(err) || has("manifest unknown", "not found", "does not exist", "repository name not known", "no such manifest"):
		return agent.WithHint(agent.Permanent(fmt.Errorf("%w: %w", agent.ErrSourceMissing, err)),
			"the registry does not have it any more; push it again")
	case has("connection refused", "no such host", "i/o timeout", "network is unreachable", "tls handshake timeout", "server misbehaving", "no route to host"):
		return agent.WithHint(fmt.Errorf("registry %s: %w: %w", domainOf(ref), agent.ErrUnreachable, err),
			"the engine cannot reach the registry")
	}
	return err
}

// platformIn returns the platform that an engine looked for.
func platformIn(text string) string {
	_, after, found := strings.Cut(text, "no matching manifest for ")
	if platform, _, ok := strings.Cut(after, " "); found && ok {
		return platform
	}
	return "its platform"
}

func domainOf(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.Domain(named)
}
