package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/daemon"
	"rollback-agent/agent/target/compose"
	"rollback-agent/agent/testbed"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// roundTrip writes a proposal where a config is, and reads it as `agent check`
// does.
func roundTrip(t *testing.T, p config.Proposal) *config.Config {
	t.Helper()
	cfg, faults := config.Load(writeFile(t, filepath.Join(t.TempDir(), "config.toml"), p.Text))
	described, err := daemon.Check(t.Context(), cfg)
	faults = slices.Concat(faults, cfg.Faults(), described)
	faults = slices.DeleteFunc(faults, func(f agent.Fault) bool { return f.Warning })
	if err != nil || len(faults) > 0 {
		t.Errorf("got %v, %v, want what is proposed to pass:\n%s", err, faults, p.Text)
	}
	return cfg
}

func propose(t *testing.T, files ...string) config.Proposal {
	t.Helper()
	p, err := daemon.Propose(t.Context(), files)
	if err != nil {
		t.Fatalf("got %v (hint: %s), want a proposal", err, agent.Hint(err))
	}
	return p
}

func TestProposalsPassTheirOwnCheck(t *testing.T) {
	const short = "services: {web: {image: app, ports: ["
	for name, c := range map[string]struct {
		files map[string]string // the first by name is asked for
		ask   string
		want  []string
	}{
		"plain":              {map[string]string{"shop/compose.yaml": short + `"3000:3000"]}}`}, "shop/compose.yaml", []string{"[service.shop]", `# health_url = "http://localhost:3000/health"`}},
		"directory":          {map[string]string{"shop/docker-compose.yml": short + `"3000:3000"]}}`}, "shop", []string{`/shop/docker-compose.yml"`}},
		"odd path":           {map[string]string{`Büro "Süd" it's/a b.yml`: short + `"80:80"]}}`}, `Büro "Süd" it's/a b.yml`, []string{`Büro \"Süd\" it's/a b.yml"`, "[service.brosdits]"}},
		"no letters":         {map[string]string{"日本/compose.yaml": short + `"80:80"]}}`}, "日本", []string{"[service.app]", `project = "app"`}},
		"named":              {map[string]string{"x/compose.yaml": "name: other\n" + short + `"80:80"]}}`}, "x", []string{"[service.other]"}},
		"override":           {map[string]string{"x/compose.yaml": short + "]}}", "x/compose.override.yaml": short + `"4000:80"]}}`}, "x", []string{"localhost:4000", `compose_file = "`}},
		"range":              {map[string]string{"x/compose.yaml": short + `"3000-3002:3000-3002"]}}`}, "x", []string{"localhost:3000/", "localhost:3001/", "localhost:3002/"}},
		"range for one":      {map[string]string{"x/compose.yaml": short + `"3000-3002:80"]}}`}, "x", []string{"port 80 of web is published under a number that changes"}},
		"random":             {map[string]string{"x/compose.yaml": short + `"80"]}}`}, "x", []string{"port 80 of web is published under a number that changes"}},
		"loopback":           {map[string]string{"x/compose.yaml": short + `"127.0.0.1:8080:80"]}}`}, "x", []string{`"http://127.0.0.1:8080/health"`}},
		"anywhere":           {map[string]string{"x/compose.yaml": short + `"0.0.0.0:8080:80"]}}`}, "x", []string{`"http://localhost:8080/health"`}},
		"six":                {map[string]string{"x/compose.yaml": short + `"[::1]:8080:80"]}}`}, "x", []string{`"http://[::1]:8080/health"`}},
		"udp":                {map[string]string{"x/compose.yaml": short + `"53:53/udp"]}}`}, "x", []string{"Nothing here proves health"}},
		"long":               {map[string]string{"x/compose.yaml": short + "{target: 80, published: '8443', protocol: tcp, app_protocol: http2, host_ip: 127.0.0.1}]}}"}, "x", []string{"127.0.0.1:8443"}},
		"interpolated":       {map[string]string{"x/compose.yaml": short + `"${PORT:-3000}:3000"]}}`}, "x", []string{"localhost:3000/health"}},
		"interpolated, .env": {map[string]string{"x/compose.yaml": short + `"${PORT:-3000}:3000"]}}`, "x/.env": "PORT=3456\n"}, "x", []string{"localhost:3456/health"}},
		"unset":              {map[string]string{"x/compose.yaml": "services: {web: {image: 'app:1${TAG}'}}"}, "x", []string{"#   the variable TAG is not set"}},
		"database":           {map[string]string{"x/compose.yaml": "services: {db: {image: postgres, ports: ['5432:5432']}}"}, "x", []string{`# health_tcp = "localhost:5432"`}},
		"secure":             {map[string]string{"x/compose.yaml": short + `"443:443"]}}`}, "x", []string{`"https://localhost:443/health"`}},
		"profiles":           {map[string]string{"x/compose.yaml": "services: {web: {image: app}, dbg: {image: app, profiles: [debug]}}"}, "x", []string{`profile debug is off; on: profiles = ["debug"]`}},
		"healthcheck":        {map[string]string{"x/compose.yaml": "services: {web: {image: app, healthcheck: {test: [CMD, /app]}}}"}, "x", []string{"# web has a HEALTHCHECK: no probe is needed"}},
		"healthcheck off":    {map[string]string{"x/compose.yaml": "services: {web: {image: app, healthcheck: {disable: true}}}"}, "x", []string{"Nothing here proves health"}},
		"one-shot":           {map[string]string{"x/compose.yaml": "services: {web: {image: app, depends_on: {job: {condition: service_completed_successfully}}}, job: {image: app}}"}, "x", []string{"one-shot: exit code 0 is its success"}},
		"build":              {map[string]string{"x/compose.yaml": "services: {web: {image: app}, tool: {build: .}}"}, "x", []string{"tool has no image and is left alone"}},
		"host network":       {map[string]string{"x/compose.yaml": "services: {web: {image: app, network_mode: host}}"}, "x", []string{"uses the host's network"}},
		"own name for it":    {map[string]string{"x/prod.yml": "services:\n  web:\n    image: app\n    env_file: w.env\n", "x/w.env": "A=1\n"}, "x/prod.yml", []string{`/x/prod.yml"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				writeFile(t, filepath.Join(dir, file), text)
			}
			p := propose(t, filepath.Join(dir, c.ask))
			for _, want := range c.want {
				if !strings.Contains(p.Text, want) {
					t.Errorf("got\n%s\nwant %q in it", p.Text, want)
				}
			}
			if cfg := roundTrip(t, p); len(cfg.Services) != 1 || len(p.Faults) > 0 {
				t.Errorf("got %d services and %v, want one without a fault", len(cfg.Services), p.Faults)
			}
			if !strings.Contains(p.Text, "# [slack]\n") {
				t.Error("got nothing about Slack")
			}
		})
	}
}

func TestProposalOfSeveralFilesAndTheirFaults(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, at("a/web/compose.yaml"), "services: {web: {image: app}}")
	writeFile(t, at("b/web/compose.yaml"), "services: {other: {image: app}}")
	writeFile(t, at("a/web/prod.yml"), "services: {web: {image: app, restart: always}}")
	writeFile(t, at("yaml/compose.yaml"), "services:\n  web: [\n")
	writeFile(t, at("build/compose.yaml"), "services: {web: {build: .}}")
	writeFile(t, at("ref/compose.yaml"), "services: {web: {image: 'NOT A REF'}}")
	writeFile(t, at("dir/compose.yaml/inner"), "")
	if err := os.Symlink(at("nowhere"), at("dangling.yml")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	bad := []string{at("yaml/compose.yaml"), at("build"), at("ref"), at("dir/compose.yaml"), at("dangling.yml"), at("missing.yml"), at("empty"), at("a/web/prod.yml"), at("\xff.yml")}
	p := propose(t, append([]string{at("a/web"), at("a/web/compose.yaml"), at("b/web")}, bad...)...)
	if got, want := fmt.Sprint(p.Services), "[web web-2]"; got != want {
		t.Errorf("got services %s, want %s", got, want)
	}
	roundTrip(t, p)
	if len(p.Faults) != len(bad) {
		t.Errorf("got %d faults, want one for each of %d files: %v", len(p.Faults), len(bad), p.Faults)
	}
	for _, f := range p.Faults {
		if f.File == "" || f.Hint == "" || strings.Contains(f.Message, "\n") {
			t.Errorf("got %+v, want a file, one line and a hint", f)
		}
	}
	text := p.Faults.Error()
	for _, want := range []string{"link to", "no such file", "no compose service with an image", "already", "UTF-8", "there is no compose file in"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want %q in it", text, want)
		}
	}
}

// up starts what a service's files describe, as the agent would.
func up(t *testing.T, svc agent.Service) {
	t.Helper()
	target := compose.New(compose.Options{DockerConfig: t.TempDir()})
	defer target.Close()
	wanted, err := target.Desired(t.Context(), svc)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range wanted.Artifacts {
		if wanted.Artifacts[i].Digest, _, err = target.Local(t.Context(), svc, a); err != nil {
			t.Fatal(err)
		}
	}
	rel := agent.Release{Service: svc.Name, Number: 1, Artifacts: wanted.Artifacts, ConfigHash: wanted.ConfigHash, Fingerprint: wanted.Fingerprint(), Snapshot: wanted.Snapshot}
	if rel, err = target.Fetch(t.Context(), svc, rel, nil); err != nil {
		t.Fatal(err)
	}
	if err := target.Apply(t.Context(), svc, rel, 100); err != nil {
		t.Fatal(err)
	}
}

func pullImage(t *testing.T, tb *testbed.Testbed, ref string) {
	t.Helper()
	stream, err := tb.Docker(t).ImagePull(t.Context(), ref, client.ImagePullOptions{})
	if err == nil {
		err = stream.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What runs is proposed as it was made: name, files, directory, profiles; and its
// health as it answers.
func TestProposalOfWhatRuns(t *testing.T) {
	tb := testbed.New(t)
	project, dir, port, hung := tb.Project(t), t.TempDir(), testbed.Port(t), testbed.Port(t)
	good, _ := tb.Push("app", "good", testbed.Good)
	checked, _ := tb.Push("app", "checked", testbed.Good, testbed.Check(1e9, 0, 1))
	hang, _ := tb.Push("app", "hang", testbed.Hang)
	for _, ref := range []string{good, checked, hang} {
		pullImage(t, tb, ref)
	}
	base := writeFile(t, filepath.Join(dir, "base.yml"), fmt.Sprintf("services:\n  web: {image: %s, ports: ['127.0.0.1:%d:8080']}\n  worker: {image: %s}\n", good, port, checked))
	extra := writeFile(t, filepath.Join(dir, "extra.yml"), fmt.Sprintf("services:\n  extra: {image: %s, profiles: [more], ports: ['127.0.0.1:%d:8080']}\n", hang, hung))
	env := writeFile(t, filepath.Join(dir, "prod.env"), "A=1\n")
	if err := os.MkdirAll(filepath.Join(dir, "elsewhere"), 0o755); err != nil {
		t.Fatal(err)
	}
	svc := agent.Service{Name: project, Target: "compose", Compose: agent.Compose{
		Files: []string{base, extra}, Project: project, Profiles: []string{"more"}, EnvFiles: []string{env}, ProjectDirectory: filepath.Join(dir, "elsewhere"),
	}}
	up(t, svc)
	awaitHTTP(t, port)

	for name, files := range map[string][]string{"everything": nil, "first file": {base}, "second file": {extra}} {
		t.Run(name, func(t *testing.T) {
			p := propose(t, files...)
			if !slices.Contains(p.Services, project) {
				t.Fatalf("got %v, want %s among them", p.Services, project)
			}
			section, _, _ := strings.Cut(p.Text[strings.Index(p.Text, "Compose project "+project):], "\n\n")
			for _, want := range []string{
				"[service." + project + "]", fmt.Sprintf("compose_files = [%q, %q]", base, extra), fmt.Sprintf("project = %q", project),
				fmt.Sprintf("project_directory = %q", filepath.Join(dir, "elsewhere")), fmt.Sprintf("env_files = [%q]", env), `profiles = ["more"]`,
				fmt.Sprintf("\nhealth_url = \"http://127.0.0.1:%d/health\"\n", port), "worker has a HEALTHCHECK: no probe is needed", "(running, HEALTHCHECK in the image)",
				fmt.Sprintf("# health_url = \"http://127.0.0.1:%d/health\"  # extra answers with 404", hung),
			} {
				if !strings.Contains(section, want) {
					t.Errorf("got\n%s\nwant %q in it", section, want)
				}
			}
			if len(files) > 0 {
				roundTrip(t, p)
			}
		})
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(extra); err != nil {
		t.Fatal(err)
	}
	p := propose(t)
	if !strings.Contains(p.Faults.Error(), fmt.Sprintf("project %q runs, but the file that it was made of is gone", project)) {
		t.Errorf("got %v, want a fault about the files that are gone", p.Faults)
	}
}

func TestProposalWithoutAnEngine(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+t.TempDir()+"/none.sock")
	_, err := daemon.Propose(t.Context(), nil)
	if err == nil || !strings.Contains(agent.Hint(err), "start Docker") || !strings.Contains(agent.Hint(err), "agent init FILE") {
		t.Errorf("got %v (hint: %s), want both ways on in the hint", err, agent.Hint(err))
	}
	p := propose(t, filepath.Dir(writeFile(t, filepath.Join(t.TempDir(), "x", "compose.yaml"), "services: {web: {image: app, ports: ['3000:3000']}}")))
	if cfg := roundTrip(t, p); len(cfg.Services) != 1 || !strings.Contains(p.Text, `docker_host = "unix://`) || len(p.Notes) != 1 {
		t.Errorf("got %v and\n%s\nwant the files alone, the engine's address and one note", p.Notes, p.Text)
	}
}
