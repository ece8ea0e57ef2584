package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// overridden is the service with the references that humans want instead of the
// files'.
func (w *Worker) overridden() agent.Service {
	svc := w.svc
	for name, o := range w.record.Overrides {
		if svc.Overrides == nil {
			svc.Overrides = map[string]string{}
		}
		svc.Overrides[name] = o.Ref
	}
	return svc
}

// override records what an order says of overrides, before anything is planned from
// them. An order that cannot be loaded changes nothing.
func (w *Worker) override(ctx context.Context, ask request) error {
	if len(ask.order.Images) == 0 && !ask.order.NoOverride {
		return nil
	}
	overrides := map[string]agent.Override{}
	if !ask.order.NoOverride {
		maps.Copy(overrides, w.record.Overrides)
	}
	if len(ask.order.Images) > 0 {
		files, err := w.look(ctx, w.svc)
		if err != nil {
			return err
		}
		if err := imagesOf(ask.order, files.Artifacts, overrides); err != nil {
			return err
		}
		svc := w.svc
		svc.Overrides = refsOf(overrides)
		wanted, err := w.look(ctx, svc)
		if err != nil {
			return err
		}
		if err := w.known(ctx, ask, wanted.Artifacts); err != nil {
			return err
		}
	}
	return w.putOverrides(ctx, overrides, "overrides by "+ask.order.Actor+": "+describe(overrides))
}

// look loads what is wanted of a service while the worker goes on.
func (w *Worker) look(ctx context.Context, svc agent.Service) (wanted agent.Wanted, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errLook)
	defer cancel()
	err = w.during(ctx, func(ctx context.Context) (err error) {
		wanted, err = w.Target.Desired(ctx, svc)
		return err
	}, nil)
	return wanted, err
}

// known refuses an override that no registry and not this host knows: it would be
// wanted for ever and never had. A registry that is away is no reason.
func (w *Worker) known(ctx context.Context, ask request, artifacts []agent.Artifact) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*lookTimeout, errLook)
	defer cancel()
	return w.during(ctx, func(ctx context.Context) error {
		for _, a := range artifacts {
			if a.FileRef == "" || a.Digest != "" {
				continue
			}
			if _, err := w.digest(ctx, a, ask.at, nil); agent.IsPermanent(err) {
				return err
			}
		}
		return nil
	}, nil)
}

// whole refuses a reference that leaves out the registry where the file has one: a
// tag alone would become the name of an image of Docker Hub.
func whole(ref, file string) error {
	if strings.Contains(ref, "/") || !strings.Contains(file, "/") {
		return nil
	}
	repository, _, _ := strings.Cut(file, "@")
	if at := strings.LastIndex(repository, ":"); at > strings.LastIndex(repository, "/") {
		repository = repository[:at]
	}
	return agent.WithHint(fmt.Errorf("%q names an image of Docker Hub, and the file has %s", ref, file),
		fmt.Sprintf("write the whole reference, such as %s:%s; an image of Docker Hub is docker.io/library/%s", repository, ref, ref))
}

// imagesOf adds an order's images to the overrides. What the files name themselves
// is none.
func imagesOf(order agent.Order, files []agent.Artifact, overrides map[string]agent.Override) error {
	var names []string
	for _, a := range files {
		names = append(names, a.Name)
	}
	for name, ref := range order.Images {
		if name == "" {
			if len(files) != 1 {
				return agent.WithHint(fmt.Errorf("service %q runs %d images", order.Service, len(files)),
					fmt.Sprintf("say which: --image %s=%s; there are %s", names[0], ref, strings.Join(names, ", ")))
			}
			name = names[0]
		}
		at := slices.Index(names, name)
		if at < 0 {
			return agent.WithHint(fmt.Errorf("service %q has no %q", order.Service, name), "there are "+strings.Join(names, ", "))
		}
		if err := whole(ref, files[at].Ref); err != nil {
			return err
		}
		delete(overrides, name)
		if file := files[at].Ref; ref != file {
			overrides[name] = agent.Override{Ref: ref, FileRef: file, By: order.Actor, At: time.Now()}
		}
	}
	return nil
}

func refsOf(overrides map[string]agent.Override) map[string]string {
	refs := make(map[string]string, len(overrides))
	for name, o := range overrides {
		refs[name] = o.Ref
	}
	return refs
}

// endedBy names the overrides whose files name something else by now.
func endedBy(artifacts []agent.Artifact, overrides map[string]agent.Override, named func(agent.Artifact) string) []string {
	var ended []string
	for name, o := range overrides {
		if !slices.ContainsFunc(artifacts, func(a agent.Artifact) bool { return a.Name == name && named(a) == o.FileRef }) {
			ended = append(ended, name)
		}
	}
	return ended
}

// dropOverrides gives the files their word back.
func (w *Worker) dropOverrides(ctx context.Context, names []string) error {
	kept := maps.Clone(w.record.Overrides)
	maps.DeleteFunc(kept, func(name string, _ agent.Override) bool { return slices.Contains(names, name) })
	return w.putOverrides(ctx, kept, "the files name other images now: "+describe(kept))
}

func (w *Worker) putOverrides(ctx context.Context, overrides map[string]agent.Override, message string) error {
	if maps.Equal(overrides, w.record.Overrides) {
		return nil
	}
	_, err := w.persist(ctx, func(record agent.ServiceRecord) agent.Entry {
		record.Overrides = overrides
		return agent.Entry{Service: &record, Event: &agent.Event{
			At: time.Now(), Kind: agent.EventOverride, Service: w.svc.Name, Message: message, Severity: agent.SeverityInfo,
		}}
	})
	return err
}

// cannotBeNow says of an order that failed what it has changed all the same.
func cannotBeNow(order agent.Order, err error) error {
	switch {
	case len(order.Images) > 0:
		return agent.WithHint(fmt.Errorf("%w; the override is recorded and counts as soon as the world answers", err), agent.Hint(err))
	case order.NoOverride:
		return agent.WithHint(fmt.Errorf("%w; the override is ended, the files count as soon as the world answers", err), agent.Hint(err))
	}
	return err
}

// describe names overrides in one line.
func describe(overrides map[string]agent.Override) string {
	if len(overrides) == 0 {
		return "none is left"
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		o := overrides[name]
		lines = append(lines, fmt.Sprintf("%s runs %s instead of %s", name, o.Ref, o.FileRef))
	}
	return strings.Join(lines, ", ")
}

// ctxError is the reason of an end, nil while ctx lives.
func ctxError(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
