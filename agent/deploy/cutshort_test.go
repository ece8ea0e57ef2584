package deploy_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target"
)

// stubborn is a registry that, once it is mute, only ever answers that the agent stops.
type stubborn struct {
	deploy.Resolver
	mute bool
}

func (s *stubborn) Resolve(ctx context.Context, ref string, asOf time.Time) (string, error) {
	if s.mute {
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	return s.Resolver.Resolve(ctx, ref, asOf)
}

// remembering is a target that knows what runs without asking the world.
type remembering struct{ target.Target }

func (r remembering) Running(ctx context.Context, svc agent.Service) (agent.Running, error) {
	return r.Target.Running(context.WithoutCancel(ctx), svc)
}

// reading is a target whose files are read to the end, whatever happens.
type reading struct {
	remembering
	slow bool
}

func (r *reading) Desired(ctx context.Context, svc agent.Service) (agent.Wanted, error) {
	if r.slow {
		<-ctx.Done()
	}
	return r.Target.Desired(context.WithoutCancel(ctx), svc)
}

// An agent that stops while it reads the files or asks a registry makes no
// deployment of an image without a digest.
func TestLookCutShortIsNoNews(t *testing.T) {
	for name, slowly := range map[string]func(*stubborn, *reading){
		"reading": func(_ *stubborn, files *reading) { files.slow = true },
		"asking":  func(registry *stubborn, _ *reading) { registry.mute = true },
	} {
		t.Run(name, func(t *testing.T) {
			scene(t, func(w *world) {
				registry, files := &stubborn{Resolver: w.registry}, &reading{remembering: remembering{w.engine}}
				w.options = func(o *deploy.Options) { o.Resolver, o.Target = registry, files }
				w.good()
				first := w.newest()
				slowly(registry, files)
				w.worker.Changed(agent.Change{Service: service, Cause: "registry"})
				synctest.Wait()
				w.die()
				if d := w.newest(); d.ID != first.ID {
					t.Errorf("got deployment %d (%s), want none when the agent stops in mid-look", d.ID, d.Message)
				}
			})
		})
	}
}
