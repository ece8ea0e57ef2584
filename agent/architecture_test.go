package agent_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floors are the rooms from the ground up: a package imports those below its own
// floor, and none beside it.
var floors = [][]string{
	{"agent"},
	{"agent/plan", "agent/judge"},
	{"agent/target", "agent/config", "agent/registry", "agent/history", "agent/gate"},
	{"agent/watch", "agent/deploy", "agent/notify", "agent/control", "agent/target/compose", "agent/target/targettest", "agent/testbed"},
	{"agent/daemon"},
	{"agent/cli"},
	{"cmd/agent"},
}

// only names what must stay below one room, and why.
var only = []struct {
	module string
	rooms  []string
	why    string
}{
	{"github.com/docker/compose", []string{"agent/target/compose"}, "only the compose target knows Compose"},
	{"github.com/compose-spec", []string{"agent/target/compose"}, "only the compose target knows Compose"},
	{"github.com/moby/moby", []string{"agent/target/compose", "agent/testbed"}, "only the compose target speaks to the engine"},
	{"github.com/google/go-containerregistry", []string{"agent/registry", "agent/testbed", "agent/target/compose"}, "images are resolved in one place"},
	{"github.com/slack-go", []string{"agent/notify/slack"}, "only one medium is Slack"},
	{"go.etcd.io/bbolt", []string{"agent/history"}, "only the history knows its store"},
	{"github.com/fsnotify", []string{"agent/watch"}, "only watch looks at files"},
	{"github.com/BurntSushi", []string{"agent/config"}, "only config reads TOML"},
	{"github.com/spf13/cobra", []string{"agent/cli"}, "only the command line parses flags"},
	{"github.com/kardianos", []string{"agent/daemon", "agent/cli"}, "only the wiring is a service of the system"},
}

// pure packages import nothing that acts: no files, no network, no processes, no
// logger.
var pure = []string{"agent", "agent/plan", "agent/judge"}

var acts = []string{"os", "os/exec", "net", "net/http", "log", "log/slog", "syscall", "database/sql"}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsRunOneWay(t *testing.T) {
	const module = "rollback-agent/"
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "scripts" || strings.HasPrefix(name, "scripts/") {
			continue
		}
		own := floor(name)
		if own < 0 {
			t.Errorf("%s has no floor: give it one, with the reason in docs/architecture.md", name)
			continue
		}
		for _, imported := range p.Imports {
			local, ours := strings.CutPrefix(imported, module)
			if ours && floor(local) >= own && !below(name, local) {
				t.Errorf("%s imports %s, which is not below it", name, local)
			}
			checkOnly(t, name, imported)
			if slices.Contains(pure, name) && (slices.Contains(acts, imported) || strings.Contains(imported, ".")) {
				t.Errorf("%s imports %s: it decides and never acts", name, imported)
			}
		}
	}
}

func checkOnly(t *testing.T, name, imported string) {
	t.Helper()
	for _, rule := range only {
		if strings.HasPrefix(imported, rule.module) && !slices.ContainsFunc(rule.rooms, func(room string) bool { return name == room || below(name, room) || strings.HasPrefix(name, room+"/") }) {
			t.Errorf("%s imports %s: %s", name, imported, rule.why)
		}
	}
}

// below tells whether one package is a part of the other's room.
func below(a, b string) bool { return strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") }

func floor(name string) int {
	best, length := -1, -1
	for i, rooms := range floors {
		for _, room := range rooms {
			if (name == room || strings.HasPrefix(name, room+"/") && room != "agent") && len(room) > length {
				best, length = i, len(room)
			}
		}
	}
	return best
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
