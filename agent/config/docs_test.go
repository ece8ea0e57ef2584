package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config.example.toml and docs/config.md anew")

func TestDocsAreFresh(t *testing.T) {
	for path, want := range map[string]string{
		"../../config.example.toml": Example(),
		"../../docs/config.md":      Reference(),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s: got a stale file, want what the table says: go test ./agent/config -update", path)
		}
	}
}

// examples uncomments what the example file sets: the values of every key, or
// only the lines that match.
var setting = regexp.MustCompile(`^#(\[[a-z.]+\]|[a-z_]+ = .*)$`)

func uncomment(t *testing.T, keep func(line string) bool) string {
	t.Helper()
	data, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if m := setting.FindStringSubmatch(strings.TrimSpace(line)); m != nil && keep(m[1]) {
			b.WriteString(m[1] + "\n")
		}
	}
	return b.String()
}

func TestExampleIsQuietAsItStands(t *testing.T) {
	cfg, faults := Load(install(t, t.TempDir(), Example()))
	if len(faults) != 0 || len(cfg.Broken) != 0 || len(cfg.Services) != 0 {
		t.Fatalf("got faults %v, broken %v, services %v, want none", faults, cfg.Broken, cfg.Services)
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "compose.yml"))
	defaults := defaultsTOML()
	lines := uncomment(t, func(line string) bool { return strings.HasPrefix(line, "[") || strings.Contains(defaults, line+"\n") })
	if got, want := strings.Count(lines, " = "), strings.Count(defaults, " = "); got != want {
		t.Fatalf("got %d defaults in the example, want %d", got, want)
	}
	rest := "compose_file = \"compose.yml\"\nhealth_url = \"http://localhost/\"\n"
	lines = strings.Replace(lines, "[slack]\n", "[slack]\nwebhook_url_file = \"hook\"\n", 1) // else it is said that nobody is told
	shown := mustLoad(t, install(t, dir, lines+rest))
	shown.Slack.WebhookURLFile = ""
	silent := mustLoad(t, install(t, dir, "[service.web]\n"+rest))
	if !reflect.DeepEqual(shown.Services, silent.Services) {
		t.Errorf("got %+v, want %+v", shown.Services, silent.Services)
	}
	shown.Services, silent.Services, shown.where, silent.where = nil, nil, nil, nil
	if !reflect.DeepEqual(shown, silent) {
		t.Errorf("got %+v, want %+v", shown, silent)
	}
}

// Every key is set to what the example says, and to its default, one at a time:
// both must be accepted, and must be known to be in the docs.
func TestEveryKeyAcceptsItsExample(t *testing.T) {
	for _, k := range topKeys() {
		tryKey(t, "", k)
	}
	for _, s := range sections() {
		for _, k := range s.keys {
			tryKey(t, "["+s.name+"]\n", k)
		}
	}
	for _, k := range serviceKeys() {
		tryKey(t, "[service.web]\n", k)
		for _, inner := range k.keys {
			tryKey(t, "[service.web."+k.name+"]\n", inner)
		}
	}
}

func tryKey[T any](t *testing.T, header string, k key[T]) {
	t.Helper()
	for _, text := range []string{k.def, k.example} {
		if text == "" {
			continue
		}
		cfg, faults := Load(install(t, t.TempDir(), header+k.name+" = "+text+"\n"))
		for _, fault := range append(faults, cfg.Faults()...) {
			environment := strings.HasPrefix(fault.Message, "there is no ") || strings.HasPrefix(fault.Message, "ca_file: ")
			missing := strings.HasSuffix(fault.Message, " is missing") || strings.Contains(fault.Message, "no argv")
			if !environment && !missing && !fault.Warning && fault.Message != `trust_owner: there is no user "deploy"` {
				t.Errorf("%s%s = %s: got %s, want no fault", header, k.name, text, fault)
			}
		}
	}
	if !strings.Contains(Reference(), k.name+"`") {
		t.Errorf("docs/config.md: got no row for %s, want one", k.name)
	}
	if k.def == "" && k.example == "" || k.doc == "" {
		t.Errorf("%s: got neither default nor example, or no doc", k.name)
	}
}
