package compose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"rollback-agent/agent"
)

// layer is one layer of an image in a registry.
type layer struct {
	digest string // of the packed content
	diffID string // of the unpacked content, as engines know it
	size   int64  // packed, in bytes
}

// registryTime bounds the question for an image's layers.
const registryTime = 20 * time.Second

var errRegistrySilent = errors.New("the registry did not answer in time")

// maxKnown is how many images' layers are remembered before all are forgotten.
const maxKnown = 100

// layers asks the registry what an artifact's image is made of, once for each
// digest: a Fetch that waits for room is repeated, and manifests do not change.
// It speaks TLS with the system's CAs, or plain HTTP to this host itself; a
// registry that needs more does not answer this question.
func (f *fetching) layers(ctx context.Context, a agent.Artifact) ([]layer, error) {
	platform := f.platform(a)
	if platform == "" {
		var err error
		if platform, err = f.engine.ownPlatform(ctx); err != nil {
			return nil, err
		}
	}
	ref := byDigest(a.Ref, a.Digest)
	key := ref + " " + platform
	if known, ok := f.engine.recallLayers(key); ok {
		return known, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, registryTime, errRegistrySilent)
	defer cancel()
	layers, err := f.askLayers(ctx, ref, platform)
	if err != nil {
		return nil, fmt.Errorf("asking for the layers of %s: %w", ref, err)
	}
	f.engine.rememberLayers(key, layers)
	return layers, nil
}

func (f *fetching) askLayers(ctx context.Context, ref, platform string) ([]layer, error) {
	digest, err := name.NewDigest(ref)
	if err != nil {
		return nil, err
	}
	wanted, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, err
	}
	login, err := f.login(ref)
	if err != nil {
		return nil, err
	}
	image, err := remote.Image(digest, remote.WithContext(ctx), remote.WithPlatform(*wanted), remote.WithUserAgent("rollback-agent"),
		remote.WithAuth(authn.FromConfig(authn.AuthConfig{
			Username: login.Username, Password: login.Password, Auth: login.Auth,
			IdentityToken: login.IdentityToken, RegistryToken: login.RegistryToken,
		})),
		remote.WithRetryPredicate(func(error) bool { return false }), remote.WithRetryStatusCodes())
	if err != nil {
		return nil, err
	}
	return layersOf(image)
}

func layersOf(image v1.Image) ([]layer, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the manifest has %d layers, the config %d", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	layers := make([]layer, len(manifest.Layers))
	for i, l := range manifest.Layers {
		layers[i] = layer{digest: l.Digest.String(), diffID: config.RootFS.DiffIDs[i].String(), size: l.Size}
	}
	return layers, nil
}

func (e *engine) recallLayers(key string) ([]layer, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.layers[key]
	return known, ok
}

func (e *engine) rememberLayers(key string, layers []layer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.layers == nil || len(e.layers) >= maxKnown {
		e.layers = map[string][]layer{}
	}
	e.layers[key] = layers
}
