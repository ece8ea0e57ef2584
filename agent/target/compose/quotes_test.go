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
