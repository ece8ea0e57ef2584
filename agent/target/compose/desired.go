package compose

import (
	"context"
	"fmt"

	composesdk "github.com/docker/compose/v5/pkg/compose"

	"rollback-agent/agent"
)

// Desired loads the compose files, and puts a human's images into the model in
// place of those that the files name. The images are references, for the core's
// registry to resolve, unless one is pinned by digest.
func (t *Target) Desired(ctx context.Context, svc agent.Service) (agent.Wanted, error) {
	id, err := configured(svc)
	if err != nil {
		return agent.Wanted{}, err
	}
	e, err := t.engine(svc)
	if err != nil {
		return agent.Wanted{Files: filesKnown(id)}, err
	}
	if wanted, ok := t.unchanged(svc); ok {
		return wanted, nil
	}
	id, err = t.identify(ctx, e, svc)
	if err != nil {
		return agent.Wanted{Files: filesKnown(id)}, err
	}
	before := stamp(filesKnown(id))
	m, err := load(ctx, svc, id)
	if err != nil {
		return agent.Wanted{Files: m.files, Warnings: m.warnings}, err
	}
	t.remember(svc, id.of(m)) // of the files alone: a human's own `up` knows no override
	if err := m.override(svc); err != nil {
		return agent.Wanted{Files: m.files, Warnings: m.warnings}, err
	}
	wanted, err := describe(m)
	if err != nil {
		return agent.Wanted{Files: m.files, Warnings: m.warnings}, err
	}
	t.keep(svc, wanted, before)
	return wanted, nil
}

// filesKnown is the list of files before anything was loaded.
func filesKnown(id identity) []string {
	env, _ := environment(id)
	return filesOf(id, env)
}

// describe makes what is wanted of a loaded model.
func describe(m model) (agent.Wanted, error) {
	wanted := agent.Wanted{Files: m.files, Sources: m.sources, Warnings: m.warnings}
	if m.fault != nil {
		return wanted, m.fault
	}
	var err error
	if wanted.Artifacts, err = artifactsOf(m); err != nil {
		return wanted, err
	}
	if wanted.Snapshot, err = take(m); err != nil {
		return wanted, err
	}
	form, err := canonical(m)
	if err != nil {
		return wanted, err
	}
	if wanted.ConfigHash, err = configHash(form); err != nil {
		return wanted, err
	}
	wanted.Secrets = secretsOf(m)
	wanted.Model, err = render(form, wanted.Secrets)
	return wanted, err
}

func artifactsOf(m model) ([]agent.Artifact, error) {
	var artifacts []agent.Artifact
	for _, name := range m.unit {
		s := m.project.Services[name]
		if _, err := parseRef(s.Image); err != nil {
			return nil, agent.Permanent(fmt.Errorf("compose service %q: %w", name, err))
		}
		hash, err := composesdk.ServiceHash(s)
		if err != nil {
			return nil, fmt.Errorf("hashing compose service %q: %w", name, err)
		}
		artifact := agent.Artifact{
			Name: name, Ref: s.Image, FileRef: m.overridden[name], Digest: pinned(s.Image),
			Config: hash, Count: s.GetScale(), OneShot: m.isOneShot(name),
		}
		if artifact.OneShot {
			artifact.Count = 0
		}
		artifacts = append(artifacts, artifact)
	}
	return artifacts, nil
}
