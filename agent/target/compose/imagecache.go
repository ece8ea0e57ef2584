package compose

import (
	"context"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// imageCache remembers the digests of images for as long as one look takes, so
// that ten containers of one image cost one question.
type imageCache struct {
	engine *engine
	mu     sync.Mutex
	known  map[string][]string
}

func newImageCache(e *engine) *imageCache {
	return &imageCache{engine: e, known: map[string][]string{}}
}

// digests returns every digest that names an image: its own ID and those of its
// manifests and indexes. An image that was deleted under its container has its
// ID alone.
func (c *imageCache) digests(ctx context.Context, imageID string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[imageID]; ok {
		return slices.Clone(known), nil
	}
	digests := []string{imageID}
	image, err := c.engine.client.ImageInspect(ctx, imageID)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return digests, c.engine.wrap(ctx, err, "inspecting image %s", imageID)
	default:
		for _, ref := range image.RepoDigests {
			digests = append(digests, digestPart(ref))
		}
		if image.Descriptor != nil {
			digests = append(digests, image.Descriptor.Digest.String())
		}
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	c.known[imageID] = digests
	return slices.Clone(digests), nil
}
