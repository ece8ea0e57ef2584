package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryFaultAtOnce(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "c.yml"))
	cfg, faults := Load(install(t, dir, `stat_dir = "x"
level = "info"
host = 3
compose_file = "x"
[slack]
webhook_url = "x"
[log]
level = "wran"
[registry]
pol_interval = "1m"
poll_interval = 60
[services.x]
[defaults]
on_failure = "explode"
[service.web]
compose_file = "nope.yml"
helth_url = "http://x"
health_tls.cafile = "x"
[service.db]
compose_file = "c.yml"
min_healthy_time = "5m"
[service.db2]
compose_file = "c.yml"
[service.good]
compose_file = "c.yml"
project = "other"
[service]
flat = 1
[service."bad name"]
`))
	wantFaults(t, faults,
		`config.toml:1: unknown key "stat_dir" | did you mean "state_dir"?`,
		`config.toml:2: unknown key "level" | level belongs in [log]`,
		`config.toml:3: host: expected a string in quotes, found a number`,
		`config.toml:4: unknown key "compose_file" | compose_file belongs in [service.NAME] or [defaults]`,
		`config.toml:6: webhook_url: is no URL | for example https://hooks.slack.com/services/…`,
		`config.toml:8: level: unknown value "wran" | did you mean "warn"?`,
		`config.toml:10: unknown key "pol_interval" in [registry] | did you mean "poll_interval"?`,
		`config.toml:11: poll_interval: 60 has no unit | write "60s" or "60m"`,
		`config.toml:12: unknown section [services] | did you mean "service"?`,
		`config.toml:14: on_failure: unknown value "explode" | use "rollback", "hold" or "alert"`,
		`config.toml:28: service.flat must be a section | write [service.NAME] on a line of its own`,
		`config.toml:29: "bad name" cannot be the name of a service`)
	wantFaults(t, cfg.Faults(),
		`config.toml:16: there is no compose file `+dir+`/nope.yml | make it, or correct the path`,
		`config.toml:17: unknown key "helth_url" in [service.web] | did you mean "health_url"?`,
		`config.toml:18: unknown key "cafile" in [service.web.health_tls] | did you mean "ca_file"?`,
		`config.toml:18: health_tls has no effect without health_url`,
		`config.toml:21: health_deadline (2m) is shorter than min_healthy_time (5m) | a release could never be proved in time: raise health_deadline or lower min_healthy_time`,
		`config.toml:21: rollback_deadline (2m) is shorter than min_healthy_time (5m)`,
		`config.toml:23: everything of `+dir+`/c.yml belongs to service "db" already | "db" is in `+dir+`/config.toml:19; name different compose_services in both`)
	if len(cfg.Services) != 1 || cfg.Services[0].Name != "good" || len(cfg.Broken) != 3 || cfg.Broken["web"].Mendable {
		t.Errorf("got services %v and broken %v, want good alone, and three broken beyond mending", cfg.Services, cfg.Broken)
	}
}

func TestFaultsOfOneKey(t *testing.T) {
	for line, want := range map[string]string{
		`watch_for = 60`:                        `watch_for: 60 has no unit | write "60s" or "60m"`,
		`watch_for = 1.5`:                       `watch_for: expected a duration in quotes, found a number`,
		`watch_for = "60"`:                      `watch_for: "60" is not a duration | write a number and a unit: "300ms", "90s", "2m", "1h30m"`,
		`watch_for = "-1s"`:                     `watch_for: "-1s" is too short | at least 0s`,
		`watch_for = "9000h"`:                   `watch_for: "9000h" is too long | at most a year, 8784h`,
		`delay = "7d"`:                          `delay: "7d" is not a duration | days are no unit: write "168h"`,
		`health_deadline = "0s"`:                `health_deadline: "0s" is too short | at least 1ms`,
		`health_interval = "0s"`:                `health_interval: "0s" is too short | at least 10ms`,
		`health_deadline = "20m"`:               `progress_deadline (10m) is shorter than health_deadline (20m)`,
		`progress_deadline = "1s"`:              `progress_deadline (1s) is shorter than health_deadline (2m)`,
		`health_timeout = "3m"`:                 `health_deadline (2m) is shorter than health_timeout (3m)`,
		`keep_releases = 1`:                     `keep_releases: 1 is out of range | from 2 to 1000000`,
		`keep_releases = "3"`:                   `keep_releases: expected a whole number, found a string`,
		`max_restarts = -1`:                     `max_restarts: -1 is out of range | from 0 to 1000000`,
		`mode = "Auto"`:                         `mode: unknown value "Auto" | did you mean "auto"?`,
		`target = "kubernetes"`:                 `target: unknown value "kubernetes" | use "compose"`,
		`project = "My App"`:                    `project: "My App" is not a name that compose accepts`,
		`project = ""`:                          `project: is empty | remove the line to have the default`,
		`profiles = "web"`:                      `profiles: expected a list, found "web" | write ["web"]`,
		`profiles = ["web", 3]`:                 `profiles: item 2: expected a string in quotes, found a number`,
		`before_deploy = "make backup"`:         `before_deploy: expected a list, found "make backup" | no shell is used: write ["make", "backup"]; where a shell is wanted, ["sh", "-c", "…"]`,
		`before_deploy = [""]`:                  `before_deploy names no program`,
		`health_command = { in = "db" }`:        `health_command has no argv | write { argv = ["program"], in = "db" }`,
		`health_command = { arg = ["x"] }`:      `unknown key "arg" in [service.web.health_command] | did you mean "argv"?`,
		`health_url = "localhost:3000"`:         `health_url: not an HTTP URL`,
		`health_url = "http://u:pw@x/"`:         `health_url: holds a user name or password, which would be printed`,
		`health_tcp = "localhost"`:              `health_tcp: "localhost" is not HOST:PORT`,
		`health_tcp = "localhost:99999"`:        `health_tcp: "localhost:99999" is not HOST:PORT`,
		`health_tls = "x"`:                      `health_tls: expected a table, found a string`,
		`health_tls = { skip_verify = "yes" }`:  `skip_verify: expected true or false, without quotes, found a string`,
		`docker_host = "localhost"`:             `docker_host: "localhost" is not the address of an engine`,
		`docker_host = "ssh://x"`:               `docker_host: "ssh://x" is not the address of an engine`,
		`trust_owner = ["no-such-user"]`:        `trust_owner: there is no user "no-such-user"`,
		`env_files = ["none.env"]`:              `there is no env file DIR/none.env`,
		`health_tls = { ca_file = "none.pem" }`: `ca_file: DIR/none.pem: no such file or directory`,
		`signal = []`:                           `unknown key "signal" in [service.web]`,
		`matrix = "default"`:                    `unknown key "matrix" in [service.web]`,
		`max_replicas = 3`:                      `unknown key "max_replicas" in [service.web]`,
		`steps = [10, 100]`:                     `unknown key "steps" in [service.web]`,
		`host = "x"`:                            `unknown key "host" in [service.web] | host belongs at the top, above the first [section]`,
	} {
		t.Run(line, func(t *testing.T) {
			cfg, faults := web(t, line+"\n")
			dir := filepath.Dir(cfg.Path)
			broken := cfg.Broken["web"].Faults
			for i := range broken {
				if broken[i].Warning {
					broken = append(broken[:i], broken[i+1:]...)
					break
				}
			}
			if len(faults) != 0 || len(broken) != 1 {
				t.Fatalf("got top-level faults %v and faults %v, want one of the service", faults, broken)
			}
			wantFaults(t, broken, "config.toml:3: "+strings.ReplaceAll(want, "DIR", dir))
		})
	}
}

func TestOneComposeFileOrSeveral(t *testing.T) {
	cfg, _ := web(t, "compose_files = [\"compose.yml\"]\n")
	wantFaults(t, cfg.Broken["web"].Faults, "config.toml:2: compose_file and compose_files exclude each other | put every file into compose_files")
	cfg, _ = Load(install(t, t.TempDir(), "[service.web]\n[service.db]\ncompose_files = []\n"))
	wantFaults(t, cfg.Faults(), `config.toml:1: compose_file is missing | add compose_file = "/path/to/docker-compose.yml"`, `config.toml:3: compose_files names no file`)
}

func TestHealthStatus(t *testing.T) {
	for value, ok := range map[string]bool{
		`200`: true, `"200"`: true, `"200-299"`: true, `[200, "300-399"]`: true,
		`99`: false, `600`: false, `"299-200"`: false, `"2xx"`: false, `[]`: false, `true`: false, `[[200]]`: false, `-200`: false,
	} {
		cfg, _ := web(t, "health_url = \"http://x\"\nhealth_status = "+value+"\n")
		if got := len(cfg.Services) == 1; got != ok {
			t.Errorf("health_status = %s: got accepted %v, want %v: %v", value, got, ok, cfg.Faults())
		}
	}
}

func TestHeadersNeverPrintTheirValues(t *testing.T) {
	for _, headers := range []string{
		`{ Authorization = "hush\u000d\u000ahush: x" }`, `{ Authorization = ["hush"] }`, `{ "a b" = "hush" }`, `"hush"`, `{ Authorization = { x = "hush" } }`,
	} {
		cfg, _ := web(t, "health_url = \"http://x\"\nhealth_headers = "+headers+"\n")
		broken := cfg.Broken["web"].Faults
		if len(broken) != 1 || strings.Contains(broken[0].String()+broken[0].Hint, "hush") {
			t.Errorf("health_headers = %s: got %v, want one fault without the value", headers, broken)
		}
	}
}

func TestTwoServicesMayShareAFile(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "c.yml"))
	if err := os.Symlink("c.yml", filepath.Join(dir, "link.yml")); err != nil {
		t.Fatal(err)
	}
	section := func(name, lines string) string { return "[service." + name + "]\n" + lines }
	file := "compose_file = \"c.yml\"\n"
	for _, c := range []struct {
		name, a, b, want string
	}{
		{"different compose services", file + "compose_services = [\"a\"]\n", file + "compose_services = [\"b\"]\n", ""},
		{"different projects", file + "project = \"a\"\n", file + "project = \"b\"\n", ""},
		{"different engines", file, file + "docker_host = \"tcp://x:1\"\n", ""},
		{"one compose service in both", file + "compose_services = [\"a\", \"b\"]\n", file + "compose_services = [\"b\"]\n", `compose service "b" of ` + dir + `/c.yml`},
		{"everything and one", file, file + "compose_services = [\"b\"]\n", `everything of ` + dir + `/c.yml`},
		{"through a link", file, "compose_file = \"link.yml\"\n", `everything of ` + dir + `/link.yml`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, faults := Load(install(t, dir, section("one", c.a)+section("two", c.b)))
			if len(faults) != 0 {
				t.Fatal(faults)
			}
			got := cfg.Broken["two"].Faults.Error()
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || len(cfg.Broken["one"].Faults) != 0 {
				t.Errorf("got %q, want %q of the second, and nothing of the first", got, c.want)
			}
		})
	}
}

func TestBrokenTOMLIsOneClearMessage(t *testing.T) {
	for text, want := range map[string]string{
		"[service.web]\ncompose_file = /opt/x.yml\n": "config.toml:2: this is not TOML: ",
		"[service.web\n": "config.toml:1: this is not TOML: ",
		"[service.web]\nmode = \"auto\"\nmode = \"notify\"\n": "config.toml:3: key 'service.web.mode' has already been defined",
		"a = \"\xff\"\n":                      "config.toml:1: this is not TOML: ",
		"[service.web]\nhealth_url = \"x\n\"": "config.toml:2: this is not TOML: ",
	} {
		_, faults := Load(install(t, t.TempDir(), text))
		if len(faults) != 1 || !strings.HasPrefix(filepath.Base(faults[0].File)+faults.Error()[len(faults[0].File):], want) || faults[0].Hint == "" {
			t.Errorf("%q: got %v (%v), want %q and a hint", text, faults, faults, want)
		}
	}
}

func TestNothingToDoIsAWarning(t *testing.T) {
	cfg, faults := Load(install(t, t.TempDir(), ""))
	if len(faults) != 0 || len(cfg.Warnings) != 1 || cfg.Warnings[0].Message != "no service is configured" {
		t.Errorf("got faults %v and warnings %v, want one warning", faults, cfg.Warnings)
	}
}

func TestFaultOfDefaultsIsOneOfTheTopLevel(t *testing.T) {
	dir := t.TempDir()
	touch(t, filepath.Join(dir, "c.yml"))
	cfg, faults := Load(install(t, dir, "[defaults]\nwatch_for = 3\n[service.web]\ncompose_file = \"c.yml\"\n"))
	wantFaults(t, faults, "config.toml:2: watch_for: 3 has no unit")
	if len(cfg.Broken) != 0 {
		t.Errorf("got %v broken, want the top level alone", cfg.Broken)
	}
	_, faults = Load(install(t, dir, "defaults = 1\nservice = 2\n"))
	wantFaults(t, faults, "config.toml:1: defaults must be a section", "config.toml:2: service must be a section with a name")
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	big := install(t, t.TempDir(), strings.Repeat("# x\n", maxFile/4+1))
	for path, want := range map[string]string{
		filepath.Join(dir, "none.toml"): "none.toml: cannot be read: no such file or directory | make it, or name another one with --config",
		dir:                             filepath.Base(dir) + ": cannot be read: not a regular file",
		"/dev/zero":                     "zero: cannot be read: not a regular file",
		big:                             "config.toml: cannot be read: larger than 1048576 bytes",
	} {
		cfg, faults := Load(path)
		wantFaults(t, faults, want)
		if cfg == nil {
			t.Errorf("%s: got no config, want one to look at", path)
		}
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"health_url", "health_tcp", "mode", "delay", "state_dir"}
	for got, want := range map[string]string{
		"health_ulr": `did you mean "health_url"?`, "Mode": `did you mean "mode"?`, "dealy": `did you mean "delay"?`,
		"statedir": `did you mean "state_dir"?`, "x": "", "": "", "replicas": "", "made": `did you mean "mode"?`,
	} {
		if hint := suggest(got, words); hint != want {
			t.Errorf("%q: got %q, want %q", got, hint, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(Example())
	f.Add(defaultsTOML())
	f.Add("[service.web]\ncompose_file = \"compose.yml\"\nhealth_command = { argv = [\"x\"], in = \"y\" }\n")
	f.Add("service = 1\n[[defaults]]\n")
	f.Add("[[service.web]]\ncompose_file = []\n[service.x.y.z]\n\"\" = 1979-05-27\n")
	f.Add("include = [\"../*\", \"\\u0000\"]\nservice.a.b = {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, faults := Load(install(t, t.TempDir(), text))
		for _, fault := range append(faults, cfg.Faults()...) {
			if fault.Message == "" || fault.File == "" || fault.Line < 0 || fault.Line > strings.Count(text, "\n")+1 {
				t.Errorf("got %+v, want a message and a line of the file", fault)
			}
		}
		for _, svc := range cfg.Services {
			if _, broken := cfg.Broken[svc.Name]; broken || len(svc.Compose.Files) == 0 || svc.HealthDeadline <= 0 || svc.KeepReleases < 2 {
				t.Errorf("got %+v as a good service", svc)
			}
		}
	})
}
