package compose

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// Local resolves what a reference names on this host: the repository's own
// digest where it has one, else the image ID. Of several digests of one image it
// is the artifact's own, if that is among them.
func (t *Target) Local(ctx context.Context, svc agent.Service, artifact agent.Artifact) (string, bool, error) {
	e, err := t.engine(svc)
	if err != nil {
		return "", false, err
	}
	image, err := e.image(ctx, artifact.Ref)
	if err != nil || image == nil {
		return "", false, err
	}
	if artifact.Digest != "" && isImage(image, artifact.Digest) {
		return artifact.Digest, true, nil
	}
	wanted := repository(artifact.Ref)
	for _, ref := range slices.Sorted(slices.Values(image.RepoDigests)) {
		if repository(ref) == wanted {
			return digestPart(ref), true, nil
		}
	}
	return image.ID, true, nil
}

// image inspects an image by any name. It is nil when it is not here.
func (e *engine) image(ctx context.Context, ref string) (*client.ImageInspectResult, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	image, err := e.client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.wrap(ctx, err, "inspecting image %s", ref)
	}
	return &image, nil
}

// isImage tells whether a digest names an image: as itself, as its manifest or
// as an index that holds it.
func isImage(image *client.ImageInspectResult, digest string) bool {
	if image.ID == digest || image.Descriptor != nil && image.Descriptor.Digest.String() == digest {
		return true
	}
	return slices.ContainsFunc(image.RepoDigests, func(ref string) bool { return digestPart(ref) == digest })
}

// ownPlatform asks the engine once what it runs on.
func (e *engine) ownPlatform(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.platform != "" {
		return e.platform, nil
	}
	ctx, cancel := ask(ctx)
	defer cancel()
	version, err := e.client.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", e.wrap(ctx, err, "asking the engine for its version")
	}
	e.platform = strings.ToLower(version.Os) + "/" + strings.ToLower(version.Arch)
	return e.platform, nil
}

func (e *engine) tag(ctx context.Context, imageID, name string) error {
	ctx, cancel := ask(ctx)
	defer cancel()
	_, err := e.client.ImageTag(ctx, client.ImageTagOptions{Source: imageID, Target: name})
	return e.wrap(ctx, err, "tagging image %.19s as %s", imageID, name)
}

// keep puts a keep tag on an image, if there is one to put.
func (e *engine) keep(ctx context.Context, imageID, tag string) error {
	if tag == "" {
		return nil
	}
	return e.tag(ctx, imageID, tag)
}

// point makes a local tag name an image, and notes that the agent did so: what a
// human pulled or tagged is not the agent's to delete.
func (e *engine) point(ctx context.Context, tag, imageID string) error {
	there, err := e.image(ctx, tag)
	if err != nil || there != nil && there.ID == imageID {
		return err
	}
	// The mark comes first: alone it says nothing, a tag alone would be a human's.
	if err := e.tag(ctx, imageID, namedMark(tag)); err != nil {
		return err
	}
	return e.tag(ctx, imageID, tag)
}

// tagLock names the lock of whoever moves a local tag, or relies on it.
func (e *engine) tagLock(tag string) string { return "tag " + e.host + " " + fullTag(tag) }
