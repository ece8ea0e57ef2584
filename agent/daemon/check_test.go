package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/daemon"
	"rollback-agent/agent/testbed"
)

// Whoever may write a file that the model is made of decides what runs; what the
// containers only get to read is the applications' own.
func TestCheckFindsFilesThatEverybodyMayWrite(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"config.toml": "[service.web]\ncompose_file = \"compose.yaml\"\n",
		"compose.yaml": "include: [sub/more.yaml]\nservices:\n  web:\n    image: app:${TAG}\n    env_file: web.env\n    extends: {file: base.yaml, service: base}\n" +
			"    configs: [c]\n    secrets: [s]\n    volumes: [./data:/data]\nconfigs: {c: {file: c.txt}}\nsecrets: {s: {file: s.txt}}\n",
		".env": "TAG=1\n", "web.env": "A=1\n", "base.yaml": "services: {base: {image: app, env_file: base.env}}\n", "base.env": "B=1\n",
		"sub/more.yaml": "services: {more: {image: 'app:${TAG}'}}\n", "sub/.env": "TAG=2\n",
		"c.txt": "c", "s.txt": "s", "data": "d",
	} {
		writeFile(t, filepath.Join(dir, name), text)
	}
	checked := func() agent.Faults {
		t.Helper()
		cfg, faults := config.Load(filepath.Join(dir, "config.toml"))
		described, err := daemon.Check(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(slices.Concat(faults, cfg.Faults(), described), func(f agent.Fault) bool { return f.Warning })
	}
	if got := checked(); len(got) > 0 {
		t.Fatalf("got %v, want nothing wrong yet", got)
	}
	for name, kind := range map[string]string{
		".env": "env file", "web.env": "env file", "base.env": "env file", "sub/.env": "env file", "base.yaml": "compose file", "sub/more.yaml": "compose file",
		"c.txt": "", "s.txt": "", "data": "",
	} {
		path := filepath.Join(dir, name)
		mode(t, path, 0o646)
		got := checked()
		mode(t, path, 0o644)
		want := kind + " " + path + " is writable by everybody"
		if kind == "" && len(got) > 0 {
			t.Errorf("%s: got %v, want none: it is content", name, got)
		}
		if kind != "" && (len(got) != 1 || !strings.HasSuffix(got.Error(), want) || got[0].Hint != "run: chmod o-w "+path || got[0].Service != "web") {
			t.Errorf("%s: got %v, want %q once", name, got, want)
		}
	}
}

// The same holds while the agent runs, and is noticed when it is mended.
func TestEnvFileThatEverybodyMayWriteIsNotDeployed(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.write(".env", "X=1\n")
	env := filepath.Join(h.dir, ".env")
	mode(t, env, 0o646)
	h.begin()
	h.eventuallyStatus("web", func(s agent.Status) error {
		if want := "env file " + env + " is writable by everybody"; !strings.Contains(s.Error, want) {
			return fmt.Errorf("got %+v, want %q", s, want)
		}
		return nil
	})
	if d, err := h.client.Deployment(t.Context(), 1); err == nil {
		t.Errorf("got %+v, want nothing deployed", d)
	}
	mode(t, env, 0o644)
	testbed.Eventually(t, 30*time.Second, func() error {
		_, err := h.client.Deployment(t.Context(), 1)
		return err
	})
	h.ended(1, agent.StateSucceeded)
}

func mode(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
