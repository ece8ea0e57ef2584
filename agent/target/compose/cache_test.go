package compose_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// TestDesiredSeesEveryEdit edits each kind of file behind a load that is
// remembered.
func TestDesiredSeesEveryEdit(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("include: [more.yaml]\nservices: {web: {image: 'REGISTRY/app:${TAG:-stable}', env_file: [{path: e.env, required: false}], configs: [c]}}\nconfigs: {c: {file: c.txt}}")
	h.write("more.yaml", "services: {more: {image: REGISTRY/app:stable}}")
	h.write("c.txt", "one")
	hash := func() string {
		h.Helper()
		wanted, err := h.target.Desired(t.Context(), h.svc)
		if err != nil {
			t.Fatal(err)
		}
		return wanted.ConfigHash
	}
	last := hash()
	if again := hash(); again != last {
		t.Fatalf("got %s, want %s: nothing changed", again, last)
	}
	for _, edit := range [][2]string{
		{".env", "TAG=other"},
		{"e.env", "A=1"},
		{"c.txt", "two"},
		{"more.yaml", "services: {more: {image: REGISTRY/app:stable, labels: [a=b]}}"},
		{"compose.override.yaml", "services: {web: {labels: [c=d]}}"},
	} {
		h.write(edit[0], edit[1])
		next := hash()
		if next == last {
			t.Errorf("an edit of %s is not seen", edit[0])
		}
		last = next
	}
	// The same size and time, but another file: an atomic save.
	path := filepath.Join(h.dir, "c.txt")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	h.write("c.new", "six")
	if err := os.Chtimes(filepath.Join(h.dir, "c.new"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(h.dir, "c.new"), path); err != nil {
		t.Fatal(err)
	}
	if hash() == last {
		t.Error("an atomic save with an old time is not seen")
	}
}

// TestDesiredCostsNothingWhenNothingChanged: a hundred services are asked for
// every minute.
func TestDesiredCostsNothingWhenNothingChanged(t *testing.T) {
	h := newSerialHost(t)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	if _, err := h.target.Desired(t.Context(), h.svc); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 100 {
		if _, err := h.target.Desired(t.Context(), h.svc); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("got %v for a hundred loads of unchanged files, want next to nothing", took)
	}
}

func TestDesiredSecretsNeverReachErrorsOrTheModel(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: REGISTRY/app:stable, environment: {TOKEN: '${TOKEN}'}}}")
	h.write(".env", "TOKEN=correct-horse")
	wanted, err := h.target.Desired(t.Context(), h.svc)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(wanted.Model, "correct-horse") {
		t.Errorf("got a model with a secret in it:\n%s", wanted.Model)
	}
	found := false
	for _, secret := range wanted.Secrets {
		found = found || secret == agent.Secret("correct-horse")
	}
	if !found {
		t.Error("got no secret to look for in texts")
	}
}
