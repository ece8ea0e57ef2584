package compose

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// Retain keeps the images of these releases under their tags, takes the tags of
// all other releases of the service away, and deletes the images that nobody
// needs then: those that the agent brought, that have no name but what the agent
// gave them, and that no release of any service and no container uses. It never
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
	r := retaining{Target: t, engine: e, service: svc.Name, wanted: map[string]string{}}
	for _, rel := range keep {
		for _, a := range rel.Artifacts {
			if a.Local != "" && rel.Number > 0 {
				r.wanted[keepTag(svc.Name, a.Name, rel.Number)] = a.Local
			}
		}
	}
	if err := r.claimStrays(ctx); err != nil {
		return err
	}
	images, err := e.keptImages(ctx)
	if err != nil {
		return err
	}
	errs := []error{r.restoreTags(ctx, images)}
	for _, i := range images {
		errs = append(errs, r.tidy(ctx, i))
	}
	return errors.Join(errs...)
}

// keptImages lists the images that have any tag of the agent's, with those tags
// alone.
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

// retaining is one Retain, under the lock of the engine's images.
type retaining struct {
	*Target
	engine  *engine
	service string
	wanted  map[string]string // keep tag → image ID
}

// restoreTags puts back keep tags that somebody removed while the image is still
// here.
func (r retaining) restoreTags(ctx context.Context, images []image.Summary) error {
	have := map[string]string{}
	for _, i := range images {
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

// tidy takes from one image the keep tags that the service needs no more, and
// deletes it if nobody needs it then. Most images are left after one glance at
// the list.
func (r retaining) tidy(ctx context.Context, listed image.Summary) error {
	glance := namesOf(listed.RepoTags, nil)
	if len(glance.keep) > 0 && !slices.ContainsFunc(glance.keep, r.isOld) {
		return nil
	}
	names, err := r.names(ctx, listed.ID)
	if err != nil || names == nil {
		return err
	}
	old, needed := partition(names.keep, r.isOld)
	switch {
	case len(needed) == 0 && names.agents():
		return r.discard(ctx, listed.ID, names.given, old)
	case len(needed)+len(names.others)+len(names.given)+len(names.marks) == 0:
		return r.release(ctx, listed.ID, old)
	}
	return r.untag(ctx, old)
}

// isOld tells whether a keep tag is of a release of the service that is not kept.
func (r retaining) isOld(tag string) bool {
	_, wanted := r.wanted[tag]
	return !wanted && belongsTo(tag, r.service)
}

// discard deletes an image that has only names of the agent's, unless a container
// uses it. Nothing may move the given tags meanwhile: where an Apply is about to,
// the image is left for the next time.
func (r retaining) discard(ctx context.Context, imageID string, given, old []string) error {
	used, err := r.engine.inUse(ctx, imageID)
	if err != nil {
		return err
	}
	if used { // the mark stays, and with it the knowledge whose it is
		return r.untag(ctx, old)
	}
	for _, name := range given {
		unlock, free := r.locks.try(r.engine.tagLock(name))
		if !free {
			return r.untag(ctx, old)
		}
		defer unlock()
	}
	names, err := r.names(ctx, imageID)
	if err != nil || names == nil || !names.agents() {
		return err
	}
	// The mark goes last: what is cut off here is finished the next time.
	return r.untag(ctx, slices.Concat(names.given, old, names.marks))
}

// names looks at an image; nil when it is gone.
func (r retaining) names(ctx context.Context, imageID string) (*names, error) {
	found, err := r.engine.image(ctx, imageID)
	if err != nil || found == nil {
		return nil, err
	}
	n := namesOf(found.RepoTags, found.RepoDigests)
	return &n, nil
}

// untag takes names away. With its last name an image goes, unless it came into
// use meanwhile.
func (r retaining) untag(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := r.engine.untag(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// release takes the last names from an image that the agent did not bring,
// without deleting it: untagging would, so a tag is moved to another image first.
// On a host without another image they stay.
func (r retaining) release(ctx context.Context, imageID string, old []string) error {
	if len(old) == 0 {
		return nil
	}
	other, err := r.engine.otherImage(ctx, imageID)
	if err != nil || other == "" {
		return err
	}
	for _, tag := range old {
		if err := r.engine.tag(ctx, other, tag); err != nil {
			return err
		}
	}
	return r.untag(ctx, old)
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

// untag takes one name from an image. Of an image that came into use meanwhile
// the engine keeps the last one.
func (e *engine) untag(ctx context.Context, name string) error {
	ctx, cancel := change(ctx)
	defer cancel()
	_, err := e.client.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return e.wrap(ctx, err, "removing the name %s", name)
}
