package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
)

// install writes a config that nobody but its owner may write.
func install(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "config.toml")
	put(t, path, text)
	return path
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	put(t, path, "services: {}\n")
}

func mustLoad(t *testing.T, path string) *Config {
	t.Helper()
	cfg, faults := Load(path)
	if all := append(faults, cfg.Faults()...); len(all) != 0 {
		t.Fatalf("got faults:\n%v\nwant none", all)
	}
	return cfg
}

// web loads a config with these lines in the section of one service whose
// compose file exists.
func web(t *testing.T, lines string) (*Config, agent.Faults) {
	t.Helper()
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "compose.yml"))
	return Load(install(t, dir, "[service.web]\ncompose_file = \"compose.yml\"\n"+lines))
}

func TestLeastThatWorks(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "compose.yml"))
	cfg := mustLoad(t, install(t, dir, "[service.web]\ncompose_file = \"compose.yml\"\nhealth_url = \"http://localhost:3000/health\"\n"))
	hostname, _ := os.Hostname()
	if cfg.StateDir != "/var/lib/rollback-agent" || cfg.Socket != "/run/rollback-agent/agent.sock" || cfg.Host != hostname {
		t.Errorf("got %s, %s, %s", cfg.StateDir, cfg.Socket, cfg.Host)
	}
	if cfg.Log != (Log{"info", "text"}) || cfg.Registry.PollInterval != time.Minute || cfg.History.Keep != 1000 {
		t.Errorf("got %+v, %+v, %+v", cfg.Log, cfg.Registry, cfg.History)
	}
	want := agent.Service{
		Name: "web", Target: "compose",
		Compose: agent.Compose{
			Files: []string{filepath.Join(dir, "compose.yml")}, DockerHost: "unix:///var/run/docker.sock",
			Profiles: []string{}, OneShots: []string{},
		},
		Health: agent.Health{
			URL: "http://localhost:3000/health", Status: []agent.StatusRange{{From: 200, To: 299}},
			Interval: 2 * time.Second, Timeout: 5 * time.Second,
		},
		MinHealthyTime: 10 * time.Second, HealthDeadline: 2 * time.Minute, ProgressDeadline: 10 * time.Minute,
		FetchDeadline: 30 * time.Minute, RollbackDeadline: 2 * time.Minute, WatchFor: time.Minute, MaxRestarts: 2,
		OnFailure: agent.ActionRollback, HoldFor: 30 * time.Minute, OnHoldExpiry: agent.HoldExpiryKeep, Mode: agent.ModeAuto,
		Debounce: 300 * time.Millisecond, KeepReleases: 3, BeforeDeploy: []string{}, TrustOwner: []string{},
	}
	if got := cfg.Services[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEveryFieldOfAServiceIsConfigurable(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"a.yml", "b.yml", "x.env", "ca.pem"} {
		touch(t, filepath.Join(dir, file))
	}
	svc := mustLoad(t, install(t, dir, `
[service.web]
target = "compose"
compose_files = ["a.yml", "b.yml"]
project = "shop"
project_directory = "sub"
env_files = ["x.env"]
profiles = ["p"]
compose_services = ["web", "worker"]
one_shots = ["migrate"]
docker_host = "tcp://10.0.0.5:2375"
health_url = "https://localhost/health"
health_status = [204, "300-399"]
health_body = "ok"
health_headers = { host = "shop.example", X-Token = "hush" }
health_tls = { ca_file = "ca.pem", server_name = "shop.example", skip_verify = true }
health_tcp = "localhost:5432"
health_command = { argv = ["pg_isready", ""], in = "db" }
health_interval = "1s"
health_timeout = "3s"
min_healthy_time = "4s"
health_deadline = "50s"
max_restarts = 0
watch_for = "6s"
fetch_deadline = "7m"
progress_deadline = "8m"
rollback_deadline = "9m"
on_failure = "hold"
hold_for = "10m"
on_hold_expiry = "rollback"
mode = "notify"
delay = "11m"
debounce = "12ms"
keep_releases = 13
before_deploy = ["true"]
trust_owner = ["root"]
`)).Services[0]
	want := agent.Service{
		Name: "web", Target: "compose",
		Compose: agent.Compose{
			Files: []string{dir + "/a.yml", dir + "/b.yml"}, Project: "shop", ProjectDirectory: dir + "/sub", EnvFiles: []string{dir + "/x.env"},
			Profiles: []string{"p"}, Services: []string{"web", "worker"}, OneShots: []string{"migrate"}, DockerHost: "tcp://10.0.0.5:2375",
		},
		Health: agent.Health{
			URL: "https://localhost/health", Status: []agent.StatusRange{{From: 204, To: 204}, {From: 300, To: 399}}, Body: "ok",
			Headers: map[string]agent.Secret{"Host": "shop.example", "X-Token": "hush"},
			TLS:     agent.TLS{CAFile: dir + "/ca.pem", ServerName: "shop.example", SkipVerify: true},
			TCP:     "localhost:5432", Command: []string{"pg_isready", ""}, In: "db", Interval: time.Second, Timeout: 3 * time.Second,
		},
		MinHealthyTime: 4 * time.Second, HealthDeadline: 50 * time.Second, ProgressDeadline: 8 * time.Minute, FetchDeadline: 7 * time.Minute,
		RollbackDeadline: 9 * time.Minute, WatchFor: 6 * time.Second, OnFailure: agent.ActionHold, HoldFor: 10 * time.Minute,
		OnHoldExpiry: agent.HoldExpiryRollback, Mode: agent.ModeNotify, Delay: 11 * time.Minute, Debounce: 12 * time.Millisecond,
		KeepReleases: 13, BeforeDeploy: []string{"true"}, TrustOwner: []string{"root"},
	}
	if !reflect.DeepEqual(svc, want) {
		t.Errorf("got  %+v\nwant %+v", svc, want)
	}
	unset(t, reflect.ValueOf(want), "Service", "MaxRestarts", "Overrides")
}

// unset fails for a field that the test above leaves zero, so that a new field
// of a service cannot be forgotten.
func unset(t *testing.T, v reflect.Value, name string, except ...string) {
	t.Helper()
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			unset(t, v.Field(i), v.Type().Field(i).Name, except...)
		}
		return
	}
	if v.IsZero() && !slices.Contains(except, name) {
		t.Errorf("field %s: got no value, want a key that sets it", name)
	}
}

func TestDefaultsAreMerged(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "a.yml"))
	touch(t, filepath.Join(dir, "b.yml"))
	cfg := mustLoad(t, install(t, dir, `
[defaults]
watch_for = "5m"
health_interval = "9s"
health_command = { argv = ["x"], in = "y" }
health_tls = { skip_verify = true }
[service.a]
compose_file = "a.yml"
[service.b]
compose_file = "b.yml"
watch_for = "0s"
health_command = ["z"]
health_url = "https://x"
health_tls = { server_name = "n" }
`))
	a, b := cfg.Services[0], cfg.Services[1]
	if a.WatchFor != 5*time.Minute || a.Health.Interval != 9*time.Second || a.Health.In != "y" || !a.Health.TLS.SkipVerify {
		t.Errorf("got %+v, want the defaults", a)
	}
	if b.WatchFor != 0 || b.Health.Interval != 9*time.Second || b.Health.In != "" || b.Health.Command[0] != "z" || b.Health.TLS != (agent.TLS{ServerName: "n"}) {
		t.Errorf("got %+v, want its own values as wholes", b)
	}
}

func TestIncludes(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "services.d", "a.yml"))
	touch(t, filepath.Join(dir, "b.yml"))
	put(t, filepath.Join(dir, "services.d", "a.toml"), "[service.a]\ncompose_file = \"a.yml\"\n")
	put(t, filepath.Join(dir, "services.d", "b.toml"), "[service.b]\ncompose_file = \"../b.yml\"\n")
	put(t, filepath.Join(dir, "services.d", "c.toml~"), "nonsense")
	cfg := mustLoad(t, install(t, dir, "[defaults]\nmax_restarts = 7\n"))
	if len(cfg.Services) != 2 || cfg.Services[0].Compose.Files[0] != dir+"/services.d/a.yml" ||
		cfg.Services[1].Compose.Files[0] != dir+"/b.yml" || cfg.Services[1].MaxRestarts != 7 {
		t.Errorf("got %+v", cfg.Services)
	}
	want := []string{dir + "/config.toml", dir + "/services.d", dir + "/services.d/a.toml", dir + "/services.d/b.toml"}
	if !slices.Equal(cfg.Files, want) {
		t.Errorf("got files %v, want %v", cfg.Files, want)
	}
}

func TestIncludesHoldServicesOnly(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "x.toml"), "[service.a]\n[log]\nlevel = \"debug\"\n")
	_, faults := Load(install(t, dir, "include = [\"x.toml\", \"y.toml\", \"[\"]\n[service.a]\n"))
	wantFaults(t, faults,
		"config.toml:1: include: there is no file "+dir+"/y.toml", "config.toml:1: include: \""+dir+"/[\" is not a pattern",
		`x.toml:1: service "a" is configured twice | the first is in `+dir+`/config.toml:2; remove or rename one`,
		`x.toml:2: "log" cannot stand in an included file`)
}

func TestConfigSurvivesJSON(t *testing.T) {
	cfg, _ := web(t, "health_url = \"http://x\"\nhealth_headers = { Authorization = \"Bearer hush\" }\nkeep_releases = 4\n")
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var again Config
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Services, cfg.Services) || again.Path != cfg.Path {
		t.Errorf("got %+v, want %+v", again.Services, cfg.Services)
	}
	if problems := again.Check(again.Services[0]); len(problems) != 0 {
		t.Errorf("got %v, want a config that still checks", problems)
	}
}

func TestCheckSeesFilesComeAndGo(t *testing.T) {
	dir := t.TempDir()
	cfg, faults := Load(install(t, dir, "[service.web]\ncompose_file = \"compose.yml\"\n"))
	broken := cfg.Broken["web"]
	if len(faults) != 0 || len(cfg.Services) != 0 || !broken.Mendable {
		t.Fatalf("got faults %v, broken %+v, want a mendable service", faults, broken)
	}
	wantFaults(t, cfg.Check(broken.Service), "config.toml:2: there is no compose file "+dir+"/compose.yml | make it, or correct the path")
	touch(t, filepath.Join(dir, "compose.yml"))
	if got := cfg.Check(broken.Service); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

// wantFaults compares "FILE:LINE: MESSAGE | HINT", where the file has no
// directory and the hint may be left out.
func wantFaults(t *testing.T, got agent.Faults, want ...string) {
	t.Helper()
	for i, fault := range got {
		fault.File = filepath.Base(fault.File)
		if i >= len(want) {
			t.Errorf("got the further fault %s | %s", fault, fault.Hint)
			continue
		}
		message, hint, hasHint := strings.Cut(want[i], " | ")
		if fault.String() != message || hasHint && fault.Hint != hint {
			t.Errorf("got  %s | %s\nwant %s", fault, fault.Hint, want[i])
		}
	}
	for _, missing := range want[min(len(got), len(want)):] {
		t.Errorf("got no fault, want %s", missing)
	}
}
