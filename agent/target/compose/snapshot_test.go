package compose

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	composecli "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rollback-agent/agent"
)

// hashes returns what Up would stamp on the containers, networks and volumes of
// a project.
func hashes(t *testing.T, project *types.Project) map[string]string {
	t.Helper()
	all := map[string]string{}
	var err error
	for name, s := range project.AllServices() {
		if all["service "+name], err = composesdk.ServiceHash(s); err != nil {
			t.Fatalf("hashing service %s: %v", name, err)
		}
	}
	for name, n := range project.Networks {
		if all["network "+name], err = composesdk.NetworkHash(&n); err != nil {
			t.Fatalf("hashing network %s: %v", name, err)
		}
	}
	for name, v := range project.Volumes {
		if all["volume "+name], err = composesdk.VolumeHash(v); err != nil {
			t.Fatalf("hashing volume %s: %v", name, err)
		}
	}
	return all
}

// roundTrip takes a snapshot of a model and restores it.
func roundTrip(t *testing.T, m model) model {
	t.Helper()
	taken, err := take(m)
	if err != nil {
		t.Fatalf("taking the snapshot: %v", err)
	}
	restored, err := restore(t.Context(), agent.Release{Service: "web", Number: 1, Snapshot: taken})
	if err != nil {
		t.Fatalf("restoring the snapshot: %v", err)
	}
	return restored
}

// checkRoundTrip proves that Up cannot tell the restored project from the loaded
// one.
func checkRoundTrip(t *testing.T, m model) {
	t.Helper()
	before := hashes(t, m.project)
	restored := roundTrip(t, m)
	if diff := cmp.Diff(before, hashes(t, restored.project)); diff != "" {
		t.Errorf("hashes differ (-loaded +restored):\n%s", diff)
	}
	sameParts(t, m.project, restored.project)
}

// sameParts compares what Up reads beside the hashes.
func sameParts(t *testing.T, loaded, restored *types.Project) {
	t.Helper()
	if !slices.Equal(loaded.ServiceNames(), restored.ServiceNames()) || !slices.Equal(loaded.DisabledServiceNames(), restored.DisabledServiceNames()) {
		t.Errorf("got services %v, disabled %v, want %v, %v", restored.ServiceNames(), restored.DisabledServiceNames(), loaded.ServiceNames(), loaded.DisabledServiceNames())
	}
	for name, s := range loaded.Services {
		r := restored.Services[name]
		for what, pair := range map[string][2]any{
			"labels":      {s.CustomLabels, r.CustomLabels},
			"depends_on":  {s.DependsOn, r.DependsOn},
			"environment": {s.Environment, r.Environment},
			"scale":       {s.GetScale(), r.GetScale()},
			"volumes":     {s.Volumes, r.Volumes},
		} {
			if diff := cmp.Diff(pair[0], pair[1], cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(types.Extensions{})); diff != "" {
				t.Errorf("%s of %s differ (-loaded +restored):\n%s", what, name, diff)
			}
		}
	}
	for name, s := range loaded.Secrets {
		if got := restored.Secrets[name].Content; got != s.Content {
			t.Errorf("got %q in secret %s, want %q", got, name, s.Content)
		}
	}
	for name, c := range loaded.Configs {
		if got := restored.Configs[name].Content; got != c.Content {
			t.Errorf("got %q in config %s, want %q", got, name, c.Content)
		}
	}
}

// TestSnapshotCorpus takes every compose file of compose-go's and the SDK's own
// test data through a snapshot.
func TestSnapshotCorpus(t *testing.T) {
	silence(slog.New(slog.DiscardHandler))
	projects, services := 0, 0
	for _, module := range []string{"github.com/compose-spec/compose-go/v2", "github.com/docker/compose/v5"} {
		root := moduleDir(t, module)
		for _, file := range composeFiles(t, root) {
			project, err := loadCorpus(t.Context(), file)
			if err != nil || len(project.AllServices()) == 0 {
				continue // many are wrong on purpose
			}
			projects++
			services += len(project.AllServices())
			name, _ := filepath.Rel(root, file)
			t.Run(filepath.Base(root)+"/"+name, func(t *testing.T) {
				checkRoundTrip(t, model{project: project, unit: project.ServiceNames()})
			})
		}
	}
	t.Logf("%d projects, %d services", projects, services)
	if projects < 200 {
		t.Errorf("got %d projects that load, want at least 200: is the test data in the module cache?", projects)
	}
}

func loadCorpus(ctx context.Context, file string) (*types.Project, error) {
	env := types.Mapping{"PWD": filepath.Dir(file), "SECRET": "a$b", "FOO": "foo$$", "HOME": "/home/me", "USER": "me", "TAG": "1"}
	options, err := composecli.NewProjectOptions([]string{file},
		composecli.WithWorkingDirectory(filepath.Dir(file)),
		func(o *composecli.ProjectOptions) error { o.Environment = env; return nil },
		composecli.WithName("corpus"), composecli.WithProfiles([]string{"a"}), composecli.WithoutEnvironmentResolution)
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return nil, err
	}
	if project, err = project.WithServicesEnvironmentResolved(true); err != nil {
		return nil, err
	}
	label(project, nil)
	return project, nil
}

func composeFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (strings.HasSuffix(path, ".yml") || strings.HasSuffix(path, ".yaml")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("finding the module %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// loadFiles loads a project directory made of these files.
func loadFiles(t *testing.T, files map[string]string) (model, error) {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, files)
	return loadDir(t, dir)
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func loadDir(t *testing.T, dir string) (model, error) {
	t.Helper()
	svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{filepath.Join(dir, "compose.yaml")}, Project: "p"}}
	id, err := configured(svc)
	if err != nil {
		t.Fatal(err)
	}
	return load(t.Context(), svc, id)
}

func TestSnapshotOwnCases(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"dollars": {"compose.yaml": `services: {web: {image: app, command: ["sh", "-c", "echo $$HOME $${X}"], environment: {PRICE: "$$5", TWO: "$$$$"}}}`},
		"env_file": {
			"compose.yaml": "services:\n  web:\n    image: app\n    env_file: [a.env, {path: none.env, required: false}]\n    environment: [PASSED, SET=1]\n",
			"a.env":        "A=1\nB='$literal'\nC=\"${A} and $$\"\n", ".env": "PASSED=through\n",
		},
		"secrets from the environment": {
			"compose.yaml": "services:\n  web:\n    image: app\n    secrets: [s]\n    configs: [c, inline]\nsecrets:\n  s: {environment: TOKEN}\nconfigs:\n  c: {environment: TOKEN}\n  inline: {content: \"price $$5\\n\"}\n",
			".env":         "TOKEN='a$b c'\n",
		},
		"disabled profiles": {"compose.yaml": "services:\n  web: {image: app}\n  debug: {image: app, profiles: [debug], environment: {X: $$1}, depends_on: [web]}\n"},
		"odd characters":    {"compose.yaml": "services:\n  web:\n    image: app\n    environment:\n      NEL: \"a\\u0085b\"\n      LS: \"a\\u2028b\"\n      HTML: \"<a&b>\"\n      NUL: \"a\\u0001b\"\n      SPACE: \"  a\\n b  \"\n"},
		"numbers":           {"compose.yaml": "services:\n  web:\n    image: app\n    memswap_limit: 2gb\n    shm_size: 64mb\n    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 65535}\n    sysctls: {net.core.somaxconn: 1024}\n    ports: [\"8080:80\", {target: 90, published: \"9000-9001\", mode: host}]\n    deploy: {replicas: 3, resources: {limits: {memory: 50M}}}\n    healthcheck: {test: [CMD, 'true'], interval: 1m30s, retries: 3, start_period: 500ms}\n    stop_grace_period: 1m\n"},
		"networks, volumes": {"compose.yaml": "services:\n  web:\n    image: app\n    networks: {front: {aliases: [a], ipv4_address: 10.9.0.5, mac_address: '02:42:ac:11:65:43'}, default: {}}\n    volumes: [data:/data, ./here:/here:ro, {type: tmpfs, target: /t, tmpfs: {size: 1000}}, /anon]\n    blkio_config: {weight: 300}\nnetworks: {front: {ipam: {config: [{subnet: 10.9.0.0/24}]}, driver_opts: {x: 1}}}\nvolumes: {data: {driver_opts: {type: none, o: bind, device: /srv}}}\n"},
		"build and image":   {"compose.yaml": "services: {web: {image: app, build: {context: ., ssh: [default], args: {X: $$}}}}"},
		"lifecycle hooks":   {"compose.yaml": "services:\n  web:\n    image: app\n    post_start: [{command: [a, $$B], environment: {C: $$D}}]\n    pre_stop: [{command: x, user: root}]\n"},
		"null environment":  {"compose.yaml": "services:\n  web:\n    image: app\n    environment: {UNSET: , EMPTY: '', SET: x}\n    labels: {a: '', b: $$}\n    entrypoint: []\n    command: ''\n"},
		"not UTF-8":         {"compose.yaml": "services: {web: {image: app, env_file: [raw.env]}}", "raw.env": "RAW=a\xffb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := loadFiles(t, files)
			if err != nil {
				t.Fatalf("loading: %v", err)
			}
			checkRoundTrip(t, m)
			again := roundTrip(t, roundTrip(t, m))
			if diff := cmp.Diff(hashes(t, m.project), hashes(t, again.project)); diff != "" {
				t.Errorf("hashes differ after two round trips:\n%s", diff)
			}
		})
	}
}

func TestSnapshotIsRefusedWithReason(t *testing.T) {
	for name, s := range map[string]agent.Snapshot{
		"none":           {},
		"future format":  {Format: snapshotFormat + 1, Data: []byte("{}")},
		"no JSON":        {Format: snapshotFormat, Data: []byte("{")},
		"unit is absent": {Format: snapshotFormat, Data: []byte(`{"name":"p","directory":"/","unit":["web"],"project":{"services":{"other":{"image":"app"}}}}`)},
	} {
		_, err := restore(t.Context(), agent.Release{Service: "web", Number: 7, Snapshot: s})
		if err == nil || !agent.IsPermanent(err) || !strings.Contains(err.Error(), "r7") {
			t.Errorf("%s: got %v, want a permanent error that names r7", name, err)
		}
	}
}

func TestSnapshotNeedsNoFiles(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"compose.yaml": "services: {web: {image: app, env_file: a.env, label_file: l, secrets: [s]}}\nsecrets: {s: {file: s.txt}}",
		"a.env":        "A=1", "l": "label=1", "s.txt": "secret",
	})
	m, err := loadDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	before := hashes(t, m.project)
	taken, err := take(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	restored, err := restore(t.Context(), agent.Release{Snapshot: taken})
	if err != nil {
		t.Fatal(err)
	}
	if after := hashes(t, restored.project); !maps.Equal(before, after) {
		t.Errorf("got %v, want %v", after, before)
	}
	if !json.Valid(taken.Data) {
		t.Error("the snapshot is no JSON")
	}
}
