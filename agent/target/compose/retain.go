package compose

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// Retain keeps the images of these releases under their tags, takes the tags of
// all other releases of the service away, and deletes what then has no name
// left: only images that the agent pulled, only if nobody uses them. It never
// prunes.
func (t *Target) Retain(ctx context.Context, svc agent.Service, keep []agent.Release) error {
	e, err := t.engine(svc)
	if err != nil {
		return err
	}
	unlock, err := t.locks.lock(ctx, "images "+e.host)
	if err != nil {
		return err
	}
	defer unlock()
	wanted := map[string]string{}
	for _, rel := range keep {
		for _, a := range rel.Artifacts {
			if a.Local != "" && rel.Number > 0 {
				wanted[keepTag(svc.Name, a.Name, rel.Number)] = a.Local
			}
		}
	}
	images, err := e.keptImages(ctx)
	if err != nil {
		return err
	}
	r := retaining{engine: e, wanted: wanted, images: images}
	return errors.Join(r.restoreTags(ctx), r.dropOthers(ctx, svc.Name), r.dropLeft(ctx))
}

// keptImages lists the images that have any tag of the agent's.
func (e *engine) keptImages(ctx context.Context) ([]image.Summary, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := e.client.ImageList(ctx, client.ImageListOptions{
		Filters: make(client.Filters).Add("reference", keepDomain+"*:*"),
	})
	if err != nil {
		return nil, e.wrap(ctx, err, "listing the kept images")
	}
	return list.Items, nil
}

type retaining struct {
	engine *engine
	wanted map[string]string // keep tag → image ID
	images []image.Summary
}

// restoreTags puts back keep tags that somebody removed while the image is still
// here.
func (r retaining) restoreTags(ctx context.Context) error {
	have := map[string]string{}
	for _, i := range r.images {
		for _, tag := range i.RepoTags {
			have[tag] = i.ID
		}
	}
	var errs []error
	for _, tag := range slices.Sorted(keysOf(r.wanted)) {
		if have[tag] == r.wanted[tag] {
			continue
		}
		err := r.engine.tag(ctx, r.wanted[tag], tag)
		if errdefs.IsNotFound(err) {
			continue // it can be fetched again by digest
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// dropOthers takes away the tags of the service's other releases.
func (r retaining) dropOthers(ctx context.Context, service string) error {
	var errs []error
	for _, i := range r.images {
		for _, tag := range i.RepoTags {
			if _, keep := r.wanted[tag]; keep || !belongsTo(tag, service) {
				continue
			}
			errs = append(errs, r.drop(ctx, i.ID, tag))
		}
	}
	return errors.Join(errs...)
}

// dropLeft deletes what the agent pulled for any service and what has no other
// name: a container used it when its last keep tag went.
func (r retaining) dropLeft(ctx context.Context) error {
	var errs []error
	for _, i := range r.images {
		if tags := tagsOnly(i.RepoTags); len(tags) != 1 || tags[0] != pulledTag(i.ID) || slices.Contains(slices.Collect(maps.Values(r.wanted)), i.ID) {
			continue
		}
		used, err := r.engine.inUse(ctx, i.ID)
		if err == nil && !used {
			err = errors.Join(r.engine.untag(ctx, pulledTag(i.ID)), r.engine.deleteImage(ctx, i.ID))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// drop takes one keep tag from an image, and deletes the image if that was its
// last name and the agent brought it here.
func (r retaining) drop(ctx context.Context, imageID, tag string) error {
	found, err := r.engine.image(ctx, imageID)
	if err != nil || found == nil {
		return err
	}
	others := slices.DeleteFunc(tagsOnly(found.RepoTags), func(t string) bool { return t == tag || t == pulledTag(imageID) })
	ours := slices.Contains(found.RepoTags, pulledTag(imageID))
	used, err := r.engine.inUse(ctx, imageID)
	switch {
	case err != nil:
		return err
	case len(others) > 0 || used && ours:
		return r.engine.untag(ctx, tag)
	case ours:
		return errors.Join(r.engine.untag(ctx, tag), r.engine.untag(ctx, pulledTag(imageID)), r.engine.deleteImage(ctx, imageID))
	}
	return r.release(ctx, imageID, tag)
}

// release takes the last name from an image that the agent did not bring,
// without deleting it: untagging would, so the tag is moved to another image
// first. On a host without another image it stays.
func (r retaining) release(ctx context.Context, imageID, tag string) error {
	other, err := r.engine.otherImage(ctx, imageID)
	if err != nil || other == "" {
		return err
	}
	return errors.Join(r.engine.tag(ctx, other, tag), r.engine.untag(ctx, tag))
}

// otherImage returns any image with a name that is not the agent's.
func (e *engine) otherImage(ctx context.Context, imageID string) (string, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := e.client.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return "", e.wrap(ctx, err, "listing images")
	}
	for _, i := range list.Items {
		if i.ID != imageID && slices.ContainsFunc(tagsOnly(i.RepoTags), func(t string) bool { return !strings.HasPrefix(t, keepDomain) }) {
			return i.ID, nil
		}
	}
	return "", nil
}

// tagsOnly drops what is no tag: the containerd image store lists names by digest
// among them, older engines "<none>:<none>".
func tagsOnly(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "@") || n == "<none>:<none>" })
}

// belongsTo tells whether a tag is a keep tag of any compose service of a
// service.
func belongsTo(tag, service string) bool {
	name, ok := strings.CutPrefix(tag, keepDomain)
	if !ok {
		return false
	}
	name, _, _ = strings.Cut(name, ":")
	return ownerOf(name) == service
}

// inUse tells whether any container, running or not, is made of an image.
func (e *engine) inUse(ctx context.Context, imageID string) (bool, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	list, err := e.client.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("ancestor", imageID),
	})
	if err != nil {
		return false, e.wrap(ctx, err, "looking for containers of image %.19s", imageID)
	}
	return len(list.Items) > 0, nil
}

func (e *engine) untag(ctx context.Context, tag string) error {
	ctx, cancel := change(ctx)
	defer cancel()
	_, err := e.client.ImageRemove(ctx, tag, client.ImageRemoveOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return e.wrap(ctx, err, "removing the tag %s", tag)
}

// deleteImage deletes what is left of an image. One that came into use meanwhile
// is left alone by the engine.
func (e *engine) deleteImage(ctx context.Context, imageID string) error {
	ctx, cancel := change(ctx)
	defer cancel()
	_, err := e.client.ImageRemove(ctx, imageID, client.ImageRemoveOptions{PruneChildren: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return e.wrap(ctx, err, "deleting image %.19s", imageID)
}
