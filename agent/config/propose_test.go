package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"rollback-agent/agent"
)

// What is written is read back as it was meant, whatever is in it.
func TestWrittenSectionsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	odd := []string{`plain`, `a "b" 'c' \d`, "tab\there", "line\nbreak", "Grüße 日本 🚀", "del\x7f esc\x1b", `C:\u0041`, "#no comment", "trailing \\"}
	for _, name := range odd {
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte("services: {}"), 0o600); err != nil {
			t.Fatal(err)
		}
		svc := agent.Service{Name: "my.app", Compose: agent.Compose{
			Files: []string{file, file}, Project: "p", ProjectDirectory: dir, EnvFiles: []string{file}, Profiles: []string{name},
			Services: []string{name}, OneShots: []string{}, DockerHost: "tcp://10.0.0.5:2376",
		}}
		svc.Health.URL, svc.Health.TCP, svc.Health.TLS.SkipVerify = "https://[::1]:1/x", "localhost:2", true
		text := Write([]Section{{
			Service: svc, Above: []string{name, "two\n[service.evil]"}, Beside: []string{"\x00\x1b[31m"}, Below: []string{Others("health_url", name, name)},
		}})
		path := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, faults := Load(path)
		if len(faults) > 0 || len(cfg.Broken) > 0 || len(cfg.Services) != 1 {
			t.Fatalf("%q: got %v, %v, want one service:\n%s", name, faults, cfg.Broken, text)
		}
		got := cfg.Services[0]
		if got.Name != "my.app" || !reflect.DeepEqual(got.Compose, svc.Compose) || got.Health.URL != svc.Health.URL || got.Health.TCP != svc.Health.TCP || !got.Health.TLS.SkipVerify {
			t.Errorf("got %+v, want %+v", got, svc)
		}
	}
}

// The comments about Slack are keys that the config knows.
func TestProposedCommentsCanBeUncommented(t *testing.T) {
	text := Write(nil)
	tail := text[strings.Index(text, "# [slack]"):]
	for _, without := range []string{"webhook_url_file", "bot_token_file"} {
		var lines []string
		for line := range strings.Lines(tail) {
			line = strings.TrimPrefix(line, "# ")
			if !strings.HasPrefix(line, without) && (without != "bot_token_file" || !strings.HasPrefix(line, "channel")) {
				lines = append(lines, line)
			}
		}
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, faults := Load(path)
		if len(faults) > 0 || !cfg.Slack.Configured() {
			t.Errorf("without %s: got %v, want a configured [slack] of %q", without, faults, lines)
		}
	}
}
