package targettest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
)

func desiredDescribes(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	w := s.desired()
	switch {
	case len(w.Artifacts) != 1:
		t.Fatalf("got %d artifacts, want 1", len(w.Artifacts))
	case w.Artifacts[0].Name == "" || w.Artifacts[0].Ref == "" || w.Artifacts[0].Count < 1:
		t.Errorf("got artifact %+v, want a name, a reference and a count", w.Artifacts[0])
	case w.ConfigHash == "":
		t.Error("got no config hash")
	case len(w.Snapshot.Data) == 0:
		t.Error("got no snapshot")
	case len(w.Files) == 0:
		t.Error("got no files to watch")
	}
}

func desiredIsStable(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	first, second := s.desired(), s.desired()
	if first.Fingerprint() != second.Fingerprint() || first.Model != second.Model {
		t.Errorf("got fingerprint %s, then %s, want the same twice", first.Fingerprint(), second.Fingerprint())
	}
}

func desiredSeesAnEdit(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one", Config: "a"})
	before := s.desired()
	s.Want(t, Version{Content: "one", Config: "b"})
	after := s.desired()
	if before.ConfigHash == after.ConfigHash {
		t.Error("got the same config hash after an edit")
	}
	if before.Artifacts[0].Digest != after.Artifacts[0].Digest {
		t.Error("got another digest after an edit, want the same")
	}
}

func desiredNamesFiles(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	whole := s.desired()
	s.Break(t)
	w, err := s.Target().Desired(s.Context(), s.Service())
	if err == nil {
		t.Fatal("got no error from broken files")
	}
	if !slices.Contains(w.Files, whole.Files[0]) {
		t.Errorf("got files %v beside the error, want %s among them: mending it would go unnoticed", w.Files, whole.Files[0])
	}
}

func desiredOverrides(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	named := s.desired().Artifacts[0]
	other := named.Ref + "-override"
	for _, ref := range []string{other, "", other, named.Ref} { // "": no override
		svc, want := s.Service(), agent.Artifact{Ref: other, FileRef: named.Ref}
		if ref != "" {
			svc.Overrides = map[string]string{named.Name: ref}
		}
		if ref != other {
			want = agent.Artifact{Ref: named.Ref}
		}
		w, err := s.Target().Desired(s.Context(), svc)
		if err != nil {
			t.Fatalf("Desired with the override %q: got %v, want no error", ref, err)
		}
		if got := w.Artifacts[0]; got.Ref != want.Ref || got.FileRef != want.FileRef {
			t.Errorf("with the override %q: got %s instead of %q, want %s instead of %q", ref, got.Ref, got.FileRef, want.Ref, want.FileRef)
		}
	}
}

func desiredRefusesOverrides(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	named := s.desired().Artifacts[0]
	svc := s.Service()
	svc.Overrides = map[string]string{named.Name + "x": named.Ref}
	w, err := s.Target().Desired(s.Context(), svc)
	if !agent.IsPermanent(err) || !strings.Contains(err.Error(), named.Name) {
		t.Errorf("got %v from an override for what the files do not have, want a permanent error that names what they have", err)
	}
	if len(w.Files) == 0 {
		t.Error("got no files to watch beside the error")
	}
}

func runningNothing(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	if got := s.running(); len(got.Instances) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
	s.serves(agent.ServingNone, nil, nil)
}

func runningSurvivesBrokenFiles(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.deploy(Version{Content: "one"})
	s.Break(t)
	s.serves(agent.ServingNew, &rel, nil)
}

func fetchChangesNothing(t testing.TB, h Harness) {
	s := onStage(t, h)
	first := s.deploy(Version{Content: "one"})
	before := s.ids()
	second := s.prepare(Version{Content: "two"})
	if after := s.ids(); !slices.Equal(before, after) {
		t.Errorf("got instances %v, want %v: Fetch changed what serves", after, before)
	}
	s.serves(agent.ServingOld, &second, &first)
}

func fetchIsANoOp(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.prepare(Version{Content: "one"})
	for _, a := range rel.Artifacts {
		if a.Local == "" || a.Config == "" {
			t.Errorf("got %+v, want Local and Config learned", a)
		}
		if !s.Here(t, a) {
			t.Errorf("%s is not here after Fetch", a.Ref)
		}
	}
	s.Withdraw(t)
	again := s.fetch(rel)
	if !slices.Equal(rel.Artifacts, again.Artifacts) {
		t.Errorf("got %+v, want the same as before: %+v", again.Artifacts, rel.Artifacts)
	}
}

func fetchTellsMissing(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.prepare(Version{Content: "one"})
	s.Forget(t, rel.Artifacts[0])
	s.Withdraw(t)
	_, err := s.Target().Fetch(s.Context(), s.Service(), s.restoring(rel), nil)
	if !errors.Is(err, agent.ErrSourceMissing) {
		t.Errorf("got %v, want agent.ErrSourceMissing", err)
	}
}

func localKnows(t testing.TB, h Harness) {
	s := onStage(t, h)
	s.Want(t, Version{Content: "one"})
	wanted := s.desired()
	if digest, ok, err := s.Target().Local(s.Context(), s.Service(), wanted.Artifacts[0]); err != nil || ok {
		t.Errorf("before anything ran: got %q, %v, %v, want nothing", digest, ok, err)
	}
	rel := s.deploy(Version{Content: "one"})
	digest, ok, err := s.Target().Local(s.Context(), s.Service(), rel.Artifacts[0])
	if err != nil || !ok || digest != rel.Artifacts[0].Digest {
		t.Errorf("got %q, %v, %v, want %s", digest, ok, err, rel.Artifacts[0].Digest)
	}
}

func strangeSnapshot(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.prepare(Version{Content: "one"})
	rel.Snapshot = agent.Snapshot{Format: 1 << 20, Data: []byte("?")}
	if err := s.Target().Apply(s.Context(), s.Service(), rel, 100); !agent.IsPermanent(err) {
		t.Errorf("Apply: got %v, want a permanent error", err)
	}
	if _, err := s.Target().Fetch(s.Context(), s.Service(), rel, nil); !agent.IsPermanent(err) {
		t.Errorf("Fetch: got %v, want a permanent error", err)
	}
	s.serves(agent.ServingNone, nil, nil)
}

func callsEnd(t testing.TB, h Harness) {
	s := onStage(t, h)
	rel := s.prepare(Version{Content: "one"})
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	began := time.Now()
	if _, err := s.Target().Running(ctx, s.Service()); err == nil {
		t.Error("Running: got no error under a context that is over")
	}
	if err := s.Target().Apply(ctx, s.Service(), rel, 100); err == nil {
		t.Error("Apply: got no error under a context that is over")
	}
	if took := time.Since(began); took > s.Patience() {
		t.Errorf("got answers after %v, want at once", took)
	}
	s.serves(agent.ServingNone, nil, nil)
}
