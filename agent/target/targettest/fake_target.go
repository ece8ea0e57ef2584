package targettest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rollback-agent/agent"
	"rollback-agent/agent/target"
)

var _ target.Target = (*Fake)(nil)

// fakeSnapshot is what the fake writes into a snapshot.
type fakeSnapshot struct {
	ConfigHash string `json:"config_hash"`
}

const fakeSnapshotFormat = 1

// Describe says that the fake splits, measures and scales nothing.
func (f *Fake) Describe(ctx context.Context) (target.Kind, error) {
	_, err := f.enter(ctx, MethodDescribe)
	return target.Kind{Name: "fake"}, err
}

// Check finds no faults.
func (f *Fake) Check(ctx context.Context, _ agent.Service) ([]agent.Fault, error) {
	_, err := f.enter(ctx, MethodCheck)
	return nil, err
}

// Desired returns what SetWanted said, with overrides, the snapshot and the
// instances' config filled in.
func (f *Fake) Desired(ctx context.Context, svc agent.Service) (agent.Wanted, error) {
	_, err := f.enter(ctx, MethodDesired)
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.wanted[svc.Name]
	if !ok {
		w, ok = f.wanted[""]
	}
	broken := f.wantErr[svc.Name]
	if broken == nil {
		broken = f.wantErr[""]
	}
	switch {
	case err != nil:
		return agent.Wanted{Files: w.Files}, err
	case broken != nil:
		return agent.Wanted{Files: w.Files}, fmt.Errorf("loading the files of service %q: %w", svc.Name, broken)
	case !ok:
		return agent.Wanted{}, fmt.Errorf("loading the files of service %q: nothing is wanted", svc.Name)
	}
	w.Artifacts = slices.Clone(w.Artifacts)
	if err := override(w.Artifacts, svc.Overrides); err != nil {
		return agent.Wanted{Files: w.Files}, err
	}
	for i := range w.Artifacts {
		w.Artifacts[i].Config = configOf(w.ConfigHash, w.Artifacts[i].Name)
	}
	data, err := json.Marshal(fakeSnapshot{w.ConfigHash})
	w.Snapshot = agent.Snapshot{Format: fakeSnapshotFormat, Data: data}
	return w, err
}

// Running returns the instances.
func (f *Fake) Running(ctx context.Context, svc agent.Service) (agent.Running, error) {
	if _, err := f.enter(ctx, MethodRunning); err != nil {
		return agent.Running{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return agent.Running{Instances: f.world(svc.Name).list()}, nil
}

// Local returns what the reference names on this host.
func (f *Fake) Local(ctx context.Context, _ agent.Service, artifact agent.Artifact) (string, bool, error) {
	if _, err := f.enter(ctx, MethodLocal); err != nil {
		return "", false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	digest, ok := f.tags[artifact.Ref]
	if _, here := f.local[digest]; !here {
		return "", false, nil
	}
	return digest, ok, nil
}

// Fetch puts the release's digests on this host.
func (f *Fake) Fetch(ctx context.Context, svc agent.Service, rel agent.Release, progress func(agent.Progress)) (agent.Release, error) {
	if _, err := f.enter(ctx, MethodFetch); err != nil {
		return rel, err
	}
	snap, err := readFakeSnapshot(rel)
	if err != nil {
		return rel, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range rel.Artifacts {
		if err := f.fetch(svc, a); err != nil {
			return rel, err
		}
	}
	rel = learned(rel, snap.ConfigHash)
	for _, a := range rel.Artifacts {
		rel.Irreversible = rel.Irreversible || f.behave[a.Digest].Irreversible
	}
	if progress != nil {
		for _, a := range rel.Artifacts {
			progress(agent.Progress{Artifact: a.Name, Done: 1, Total: 1})
		}
	}
	return rel, nil
}

// override puts other references in the place of the files'.
func override(artifacts []agent.Artifact, refs map[string]string) error {
	for name, ref := range refs {
		at := slices.IndexFunc(artifacts, func(a agent.Artifact) bool { return a.Name == name })
		switch {
		case at < 0:
			return agent.Permanent(fmt.Errorf("there is no artifact %q, but %v", name, namesOf(artifacts)))
		case strings.ContainsAny(ref, " \n"):
			return agent.Permanent(fmt.Errorf("reading the reference %q", ref))
		case ref != artifacts[at].Ref:
			artifacts[at].FileRef, artifacts[at].Ref, artifacts[at].Digest = artifacts[at].Ref, ref, ""
		}
	}
	return nil
}

func namesOf(artifacts []agent.Artifact) []string {
	names := make([]string, len(artifacts))
	for i, a := range artifacts {
		names[i] = a.Name
	}
	return names
}

func (f *Fake) fetch(svc agent.Service, a agent.Artifact) error {
	if a.Digest == "" {
		return agent.Permanent(fmt.Errorf("fetching %s for service %q: no digest", a.Ref, svc.Name))
	}
	if _, here := f.local[a.Digest]; !here {
		if f.gone[a.Digest] {
			return fmt.Errorf("fetching %s of %s for service %q: %w", a.Digest, a.Ref, svc.Name, agent.ErrSourceMissing)
		}
		f.local[a.Digest] = imageID(a.Digest)
	}
	if f.kept[svc.Name] == nil {
		f.kept[svc.Name] = map[string]bool{}
	}
	f.kept[svc.Name][a.Digest] = true
	return nil
}

// Apply makes the release run. It works from the snapshot and from what Fetch
// learned.
func (f *Fake) Apply(ctx context.Context, svc agent.Service, rel agent.Release, share int) error {
	s, err := f.enter(ctx, MethodApply)
	if err != nil {
		return err
	}
	snap, err := readFakeSnapshot(rel)
	if err != nil {
		return err
	}
	if share <= 0 || share > 100 {
		return fmt.Errorf("applying %s of service %q: share %d", agent.ReleaseName(rel.Number), svc.Name, share)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range rel.Artifacts {
		if _, here := f.local[a.Digest]; !here {
			return fmt.Errorf("applying %s of service %q: %s was not fetched", agent.ReleaseName(rel.Number), svc.Name, a.Ref)
		}
	}
	rel.Service, rel.ConfigHash = svc.Name, snap.ConfigHash
	if s.half {
		f.converge(f.world(svc.Name), learned(rel, snap.ConfigHash), 1)
		return s.err
	}
	f.converge(f.world(svc.Name), learned(rel, snap.ConfigHash), len(rel.Artifacts))
	return nil
}

// Diagnose describes every instance.
func (f *Fake) Diagnose(ctx context.Context, svc agent.Service) ([]agent.Diagnosis, error) {
	if _, err := f.enter(ctx, MethodDiagnose); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []agent.Diagnosis
	for _, i := range f.world(svc.Name).list() {
		found = append(found, agent.Diagnosis{
			Instance: i.Name, Artifact: i.Artifact, Phase: i.Phase, ExitCode: i.ExitCode, OOMKilled: i.OOMKilled,
			Restarts: i.Restarts, HealthOutput: i.HealthOutput, Log: []string{"last words of " + i.Name},
		})
	}
	return found, nil
}

// Exec does what OnExec scripted.
func (f *Fake) Exec(ctx context.Context, svc agent.Service, artifact string, argv []string) (string, int, error) {
	if _, err := f.enter(ctx, MethodExec); err != nil {
		return "", 0, err
	}
	f.mu.Lock()
	do := f.exec
	runs := slices.ContainsFunc(f.world(svc.Name).instances, func(c *container) bool {
		return c.Artifact == artifact && c.Phase == agent.PhaseRunning
	})
	f.mu.Unlock()
	if !runs {
		return "", 0, fmt.Errorf("running a command in %s of service %q: no running instance", artifact, svc.Name)
	}
	if do == nil {
		return "", 0, nil
	}
	return do(svc.Name, artifact, argv)
}

// Retain forgets the digests that were fetched for the service, are kept by no
// release and run nowhere.
func (f *Fake) Retain(ctx context.Context, svc agent.Service, keep []agent.Release) error {
	if _, err := f.enter(ctx, MethodRetain); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	needed := map[string]bool{}
	for _, rel := range keep {
		for _, a := range rel.Artifacts {
			needed[a.Digest] = true
		}
	}
	for digest := range maps.Clone(f.kept[svc.Name]) {
		if needed[digest] {
			continue
		}
		delete(f.kept[svc.Name], digest)
		if !f.inUse(digest) {
			delete(f.local, digest)
		}
	}
	return nil
}

// inUse tells whether a digest runs anywhere or is kept by any service.
func (f *Fake) inUse(digest string) bool {
	for _, kept := range f.kept {
		if kept[digest] {
			return true
		}
	}
	for _, w := range f.services {
		if slices.ContainsFunc(w.instances, func(c *container) bool { return c.Local == imageID(digest) }) {
			return true
		}
	}
	return false
}

func readFakeSnapshot(rel agent.Release) (fakeSnapshot, error) {
	var snap fakeSnapshot
	if rel.Snapshot.Format != fakeSnapshotFormat {
		return snap, agent.Permanent(fmt.Errorf("reading the snapshot of %s: format %d", agent.ReleaseName(rel.Number), rel.Snapshot.Format))
	}
	if err := json.Unmarshal(rel.Snapshot.Data, &snap); err != nil {
		return snap, agent.Permanent(fmt.Errorf("reading the snapshot of %s: %w", agent.ReleaseName(rel.Number), err))
	}
	return snap, nil
}

// learned fills in what only the target knows about the artifacts.
func learned(rel agent.Release, configHash string) agent.Release {
	rel.Artifacts = slices.Clone(rel.Artifacts)
	for i := range rel.Artifacts {
		rel.Artifacts[i].Local = imageID(rel.Artifacts[i].Digest)
		rel.Artifacts[i].Config = configOf(configHash, rel.Artifacts[i].Name)
	}
	return rel
}

func configOf(configHash, artifact string) string { return "config:" + configHash + ":" + artifact }
