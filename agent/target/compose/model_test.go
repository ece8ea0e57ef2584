package compose

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
)

const twoServices = `
services:
  web:
    image: app:1
    environment: {B: "2", A: "1"}
    deploy: {replicas: 2}
    configs: [c]
  db:
    image: db@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
configs:
  c: {file: c.txt}
`

// hashOf returns the config hash of a project directory.
func hashOf(t *testing.T, files map[string]string) string {
	t.Helper()
	m, err := loadFiles(t, files)
	if err != nil {
		t.Fatal(err)
	}
	w, err := describe(m)
	if err != nil {
		t.Fatal(err)
	}
	return w.ConfigHash
}

func TestConfigHashIgnoresWhatDoesNotMatter(t *testing.T) {
	base := hashOf(t, map[string]string{"compose.yaml": twoServices, "c.txt": "content"})
	for name, files := range map[string]map[string]string{
		"another directory": {"compose.yaml": twoServices, "c.txt": "content"},
		"comments":          {"compose.yaml": "# hello\n" + strings.ReplaceAll(twoServices, "image: app:1", "image: app:1 # web"), "c.txt": "content"},
		"order of keys":     {"compose.yaml": strings.Replace(twoServices, `{B: "2", A: "1"}`, `{A: "1", B: "2"}`, 1), "c.txt": "content"},
		"environment list":  {"compose.yaml": strings.Replace(twoServices, `{B: "2", A: "1"}`, `["A=1", "B=2"]`, 1), "c.txt": "content"},
		"image digest":      {"compose.yaml": strings.Replace(twoServices, strings.Repeat("a", 64), strings.Repeat("b", 64), 1), "c.txt": "content"},
		"name of a file":    {"compose.yaml": strings.Replace(twoServices, "c.txt", "d.txt", 1), "d.txt": "content"},
		"env_file":          {"compose.yaml": strings.Replace(twoServices, `environment: {B: "2", A: "1"}`, "env_file: e.env", 1), "c.txt": "content", "e.env": "A=1\nB=2\n"},
		"scale":             {"compose.yaml": strings.Replace(twoServices, "deploy: {replicas: 2}", "scale: 2", 1), "c.txt": "content"},
		"unused resources":  {"compose.yaml": twoServices + "networks: {unused: {}}\nvolumes: {unused: {}}\n", "c.txt": "content"},
		"build":             {"compose.yaml": strings.Replace(twoServices, "image: app:1", "image: app:1\n    build: .", 1), "c.txt": "content"},
		"another profile":   {"compose.yaml": strings.Replace(twoServices, "services:", "services:\n  debug: {image: x, profiles: [debug]}", 1), "c.txt": "content"},
	} {
		if got := hashOf(t, files); got != base {
			t.Errorf("%s: got %s, want %s", name, got, base)
		}
	}
}

func TestConfigHashSeesWhatMatters(t *testing.T) {
	seen := map[string]string{hashOf(t, map[string]string{"compose.yaml": twoServices, "c.txt": "content"}): "base"}
	for name, files := range map[string]map[string]string{
		"environment":    {"compose.yaml": strings.Replace(twoServices, `"2"`, `"3"`, 1), "c.txt": "content"},
		"no value":       {"compose.yaml": strings.Replace(twoServices, `"2"`, `""`, 1), "c.txt": "content"},
		"replicas":       {"compose.yaml": strings.Replace(twoServices, "replicas: 2", "replicas: 3", 1), "c.txt": "content"},
		"config content": {"compose.yaml": twoServices, "c.txt": "other"},
		"image tag":      {"compose.yaml": strings.Replace(twoServices, "app:1", "app:2", 1), "c.txt": "content"},
		"port":           {"compose.yaml": strings.Replace(twoServices, "configs: [c]", "configs: [c]\n    ports: ['80:80']", 1), "c.txt": "content"},
		"command order":  {"compose.yaml": strings.Replace(twoServices, "configs: [c]", "configs: [c]\n    command: [a, b]", 1), "c.txt": "content"},
		"command":        {"compose.yaml": strings.Replace(twoServices, "configs: [c]", "configs: [c]\n    command: [b, a]", 1), "c.txt": "content"},
		"one less":       {"compose.yaml": twoServices[:strings.Index(twoServices, "  db:")] + "configs:\n  c: {file: c.txt}\n", "c.txt": "content"},
	} {
		got := hashOf(t, files)
		if other, ok := seen[got]; ok {
			t.Errorf("got the same hash for %q and %q", name, other)
		}
		seen[got] = name
	}
}

// TestConfigHashIsForEver fails when the canonical form changes: that makes every
// deployed service differ at the next start of the agent.
func TestConfigHashIsForEver(t *testing.T) {
	got := hashOf(t, map[string]string{"compose.yaml": twoServices, "c.txt": "content"})
	if want := "1:26533234f039519ad06a964e18de12ab06d1e5f22a40269b6cd226a7a6d06d7d"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestModelHidesSecretsButShowsThatTheyChange(t *testing.T) {
	file := `
services:
  web:
    image: app
    environment: {PASSWORD: VALUE, MODE: prod}
    command: ["--password=VALUE"]
    secrets: [s]
secrets: {s: {file: s.txt}}
`
	model := func(password string) agent.Wanted {
		m, err := loadFiles(t, map[string]string{"compose.yaml": strings.ReplaceAll(file, "VALUE", password), "s.txt": "file-secret\n"})
		if err != nil {
			t.Fatal(err)
		}
		w, err := describe(m)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	one, again, two := model("hunter22"), model("hunter22"), model("hunter23")
	if strings.Contains(one.Model, "hunter") || !strings.Contains(one.Model, "•••") || !strings.Contains(one.Model, "MODE: prod") {
		t.Errorf("got a model that shows too much or too little:\n%s", one.Model)
	}
	if one.Model != again.Model || one.Model == two.Model {
		t.Errorf("got models that do not tell the secrets apart:\n%s\n%s", one.Model, two.Model)
	}
	for _, secret := range []agent.Secret{"hunter22", "file-secret"} {
		if !slices.Contains(one.Secrets, secret) {
			t.Errorf("got %d secrets, want %q among them", len(one.Secrets), secret.Reveal())
		}
	}
}

func TestArtifactsOfAModel(t *testing.T) {
	m, err := loadFiles(t, map[string]string{"compose.yaml": `
services:
  web: {image: "app:1", scale: 3, depends_on: {migrate: {condition: service_completed_successfully}}}
  migrate: {image: app:1}
  pinned: {image: "app:1@sha256:` + strings.Repeat("a", 64) + `"}
  side: {build: ., network_mode: "service:web"}
  off: {image: app, profiles: [debug]}
`})
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := artifactsOf(m)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]agent.Artifact{}
	for _, a := range artifacts {
		got[a.Name] = a
	}
	switch {
	case len(got) != 3:
		t.Errorf("got %v, want web, migrate and pinned", got)
	case got["web"].Count != 3 || got["web"].OneShot || got["web"].Digest != "":
		t.Errorf("got web %+v", got["web"])
	case got["migrate"].Count != 0 || !got["migrate"].OneShot:
		t.Errorf("got migrate %+v", got["migrate"])
	case got["pinned"].Digest != "sha256:"+strings.Repeat("a", 64):
		t.Errorf("got pinned %+v", got["pinned"])
	}
	if len(m.warnings) != 1 || !strings.Contains(m.warnings[0], "side") {
		t.Errorf("got warnings %q, want one about side", m.warnings)
	}
}

func TestIdentityComesFromLabels(t *testing.T) {
	svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{"/srv/app/compose.yaml"}}}
	id, err := configured(svc)
	if err != nil {
		t.Fatal(err)
	}
	mine := labelled{project: "shop", directory: "/srv/elsewhere", files: []string{"/srv/app/compose.yaml"}}
	other := labelled{project: "staging", directory: "/srv/app", files: mine.files}

	if found, err := choose(svc, id, []labelled{mine}); err != nil || found.project != "shop" {
		t.Errorf("got %v, %v, want the project that exists", found, err)
	}
	if adopted, err := id.adopt(svc, mine); err != nil || adopted.directory != "/srv/elsewhere" {
		t.Errorf("got %+v, %v, want the directory of the labels", adopted, err)
	}
	if _, err := choose(svc, id, []labelled{mine, other}); err == nil || agent.Hint(err) == "" {
		t.Errorf("got %v, want an error: which of the two projects?", err)
	}
	svc.Compose.Project, id.project = "staging", "staging"
	if found, err := choose(svc, id, []labelled{mine, other}); err != nil || found.project != "staging" {
		t.Errorf("got %v, %v, want the configured project", found, err)
	}
	if _, err := choose(svc, id, []labelled{mine}); err == nil || agent.Hint(err) == "" || !agent.IsPermanent(err) {
		t.Errorf("got %v, want an error: a second project would start", err)
	}
	svc.Compose.ProjectDirectory = "/srv/third"
	if _, err := id.adopt(svc, mine); err == nil {
		t.Error("got no error for a directory that differs from the containers'")
	}
}

func TestIdentityFindsFilesThatTheConfigDoesNotName(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"app.yaml": "services: {web: {image: app}}", "prod.yaml": "services: {web: {image: app}}"})
	base, prod := filepath.Join(dir, "app.yaml"), filepath.Join(dir, "prod.yaml")
	svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{base}}}
	id, err := configured(svc)
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := id.adopt(svc, labelled{project: "p", directory: dir, files: []string{base, prod}})
	if err != nil || !slices.Equal(adopted.files, []string{base, prod}) {
		t.Errorf("got %v, %v, want both files of the labels", adopted.files, err)
	}
	link := filepath.Join(t.TempDir(), "app.yaml")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(link); err != nil || !namesFile([]string{base}, link, info) {
		t.Errorf("got %v, want a link and its file to be the same", err)
	}
}

func TestBudgetAndRestartPolicy(t *testing.T) {
	if got, want := budgetOf(healthcheck(10*time.Second, 0, 0, 5*time.Second)), 5*time.Second+3*(10*time.Second+30*time.Second); got != want {
		t.Errorf("got %v, want %v: the engine's defaults fill the gaps", got, want)
	}
	for _, c := range []struct {
		policy   string
		max      int
		instance agent.Instance
		want     bool
	}{
		{"", 0, agent.Instance{Phase: agent.PhaseRunning}, false},
		{"no", 0, agent.Instance{Phase: agent.PhaseRunning}, false},
		{"always", 0, agent.Instance{Phase: agent.PhaseRunning}, true},
		{"unless-stopped", 0, agent.Instance{Phase: agent.PhaseRestarting}, true},
		{"unless-stopped", 0, agent.Instance{Phase: agent.PhaseExited}, false},
		{"on-failure", 0, agent.Instance{Phase: agent.PhaseRunning}, true},
		{"on-failure", 0, agent.Instance{Phase: agent.PhaseExited}, false},
		{"on-failure", 2, agent.Instance{Phase: agent.PhaseRunning, Restarts: 2}, false},
	} {
		if got := willRestart(policy(c.policy, c.max), c.instance); got != c.want {
			t.Errorf("%s %d, %+v: got %v, want %v", c.policy, c.max, c.instance.Phase, got, c.want)
		}
	}
}

func TestRefusalsAreToldFromOutages(t *testing.T) {
	for text, want := range map[string]error{
		"manifest for app@sha256:1 not found: manifest unknown":            agent.ErrSourceMissing,
		"unauthorized: authentication required":                            agent.ErrSourceMissing,
		"pull access denied for app, repository does not exist":            agent.ErrSourceMissing,
		"dial tcp 10.0.0.1:443: connect: connection refused":               agent.ErrUnreachable,
		"write /var/lib/docker/tmp/GetImageBlob1: no space left on device": agent.ErrNoSpace,
		"dial tcp: lookup registry.example on 1.1.1.1: no such host":       agent.ErrUnreachable,
	} {
		err := explainPull("registry.example/app@sha256:1", errors.New(text))
		if !errors.Is(err, want) || agent.Hint(err) == "" || agent.IsPermanent(err) != (want == agent.ErrSourceMissing) {
			t.Errorf("%s: got %v, hint %q, want %v with a hint", text, err, agent.Hint(err), want)
		}
	}
}

func TestNamesAreToldApart(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	brought, pointed := pulledMark("app@"+digest), namedMark("app:1")
	for name, c := range map[string]struct {
		tags, digests []string
		agents        bool
	}{
		"brought by digest":            {[]string{brought}, []string{"app@" + digest}, true},
		"brought, and a tag pointed":   {[]string{brought, pointed, "app:1"}, []string{"app@" + digest}, true},
		"brought, kept":                {[]string{brought, keepTag("web", "web", 1)}, []string{"app@" + digest}, true},
		"another spelling":             {[]string{pulledMark("docker.io/library/app@" + digest), namedMark("docker.io/library/app:1"), "app:1"}, []string{"app@" + digest}, true},
		"deleted halfway":              {[]string{brought}, nil, true},
		"containerd lists all as both": {[]string{brought, "app@" + digest}, []string{"app@" + digest, "localhost/rollback-agent/pulled@" + digest}, true},
		"a human's tag":                {[]string{brought, "app:1"}, []string{"app@" + digest}, false},
		"a human's digest":             {[]string{brought}, []string{"app@" + digest, "mirror/app@" + digest}, false},
		"built here, tag moved back":   {[]string{pointed, "app:1"}, nil, false},
		"older engines, no name":       {[]string{"<none>:<none>"}, []string{"<none>@<none>"}, false},
	} {
		n := namesOf(c.tags, c.digests)
		if got := n.agents(); got != c.agents {
			t.Errorf("%s: got the agent's %v, want %v: %+v", name, got, c.agents, n)
		}
	}
	if n := namesOf([]string{brought, pointed}, nil); n.marks[1] != brought {
		t.Errorf("got marks %v, want the pulled one last", n.marks)
	}
}

func TestKeepTags(t *testing.T) {
	tag := keepTag("web", "api", 12)
	if !belongsTo(tag, "web") || belongsTo(tag, "we") || belongsTo(pulledMark("app@sha256:"+strings.Repeat("a", 64)), "web") {
		t.Errorf("got %s, which does not belong to web alone", tag)
	}
	if _, err := parseRef(tag); err != nil {
		t.Errorf("got %v, want a reference that Docker accepts", err)
	}
}
