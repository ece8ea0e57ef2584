package compose

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollback-agent/agent"
)

// An env file that cannot be read is not quoted: what it holds was never known to
// be a secret.
func TestBrokenEnvFileIsNotQuoted(t *testing.T) {
	for name, broken := range map[string]string{
		"open quote":  "TOKEN=\"hunter2233\nOTHER=1\n",
		"single":      "TOKEN='hunter2233\n",
		"a bad name":  "TO!KEN=hunter2233\n",
		"yaml style":  "TO KEN: hunter2233\n",
		"no name":     "hunter2233 hunter2233\n=hunter2233\n",
		"second line": "TOKEN=\"first\nhunter2233\n",
	} {
		for _, file := range []string{".env", "web.env", "part.env"} {
			dir := t.TempDir()
			path := filepath.Join(dir, "compose.yaml")
			for file, text := range map[string]string{
				"compose.yaml": "name: broken\ninclude: [{path: part/part.yaml, env_file: part.env}]\nservices:\n  web:\n    image: app\n    env_file: [web.env]\n", "web.env": "A=1\n",
				"part.env": "A=1\n", "part/part.yaml": "services:\n  part:\n    image: app\n", file: broken,
			} {
				err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755)
				if err = errors.Join(err, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := load(t.Context(), agent.Service{Name: "web"}, identity{directory: dir, files: []string{path}, project: "broken"})
			if err == nil || strings.Contains(err.Error(), "hunter2233") || !strings.Contains(err.Error(), file) {
				t.Errorf("%s: got %v, want %s named and not quoted", name, err, file)
			}
		}
	}
}

// A variable of .env that is named like a secret is one wherever it is used; a tag
// or a port is none.
func TestSecretsOfDotEnvOutsideOfEnvironments(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "compose.yaml")
	compose := "name: dotenv\nservices:\n  web:\n    image: app:${TAG}\n    command: [\"--password\", \"${ADMIN_PASSWORD}\"]\n"
	err := errors.Join(os.WriteFile(path, []byte(compose), 0o600),
		os.WriteFile(filepath.Join(dir, ".env"), []byte("ADMIN_PASSWORD=hunter2233\nTAG=v1.4.2-rc1\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	m, err := load(t.Context(), agent.Service{Name: "web"}, identity{directory: dir, files: []string{path}, project: "dotenv"})
	if err != nil {
		t.Fatal(err)
	}
	if got := secretsOf(m); len(got) != 1 || got[0].Reveal() != "hunter2233" {
		t.Errorf("got %d secrets, want the password alone", len(got))
	}
}
