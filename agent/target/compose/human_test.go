package compose_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

const cliVersion = "v5.6.0"

// composeCLI returns the path of a `docker compose` binary of the SDK's version,
// built once into the user's cache.
func composeCLI(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "rollback-agent-testbed")
	path := filepath.Join(dir, "docker-compose-"+cliVersion)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	work, err := os.MkdirTemp(dir, "compose-cli-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	module := "module cli\n\ngo 1.26\n\nrequire github.com/docker/compose/v5 " + cliVersion + "\n"
	if err := os.WriteFile(filepath.Join(work, "go.mod"), []byte(module), 0o600); err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(work, "docker-compose")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-trimpath", "-ldflags=-s -w -X github.com/docker/compose/v5/internal.Version="+cliVersion, "-o", built, "github.com/docker/compose/v5/cmd")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building docker compose %s: %v\n%s", cliVersion, err, out)
	}
	if err := os.Rename(built, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// human runs `docker compose` in the project directory, as a human does.
func (h *host) human(args ...string) string {
	h.Helper()
	cmd := exec.CommandContext(h.Context(), composeCLI(h.T), append([]string{"--progress", "plain", "-p", h.project}, args...)...)
	cmd.Dir = h.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "PWD=") }), "DOCKER_CONFIG="+h.TempDir(), "PWD="+h.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("docker compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

const humanFile = `
services:
  web:
    image: REGISTRY/app:stable
    environment: {PRICE: "$$5", HERE: "${PWD}"}
    env_file: [app.env]
    volumes: ["data:/data", "./conf:/conf:ro", /anonymous]
    networks: [default, back]
    secrets: [s]
    configs: [c]
  sidecar:
    image: REGISTRY/app:stable
    network_mode: "service:web"
    environment: {APP_ADDR: ":9090"}
    depends_on: [web]
volumes: {data: {}}
networks: {back: {}}
secrets: {s: {environment: TOKEN}}
configs: {c: {content: "inline $$"}}
`

func newHumanHost(t *testing.T) *host {
	h := newHost(t)
	if err := os.Mkdir(filepath.Join(h.dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("app.env", "FROM_FILE='a$b'\n")
	h.write(".env", "TOKEN=hush-hush\n")
	h.compose(humanFile)
	h.Push("app", "stable", testbed.Good)
	return h
}

func TestHumanFindsNothingToDoAfterADeployment(t *testing.T) {
	h := newHumanHost(t)
	rel := h.deploy()
	before := h.ids()
	out := h.human("up", "-d")
	if after := h.ids(); !slices.Equal(before, after) {
		t.Fatalf("got containers %v, want %v: docker compose up recreated some\n%s", after, before, out)
	}
	if !strings.Contains(out, "Running") || strings.Contains(out, "Recreate") {
		t.Errorf("got %s, want Running", out)
	}
	h.serves(agent.ServingNew, &rel, nil)

	h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	h.deploy()
	h.apply(h.fetch(h.restoring(rel)))
	before = h.ids()
	out = h.human("up", "-d") // the tag was moved back: the good version stays
	if after := h.ids(); !slices.Equal(before, after) {
		t.Fatalf("after a rollback: got containers %v, want %v\n%s", after, before, out)
	}
}

func TestAgentFindsNothingToDoAfterAHuman(t *testing.T) {
	h := newHumanHost(t)
	h.svc.Compose.Project = "" // from the labels
	h.human("up", "-d")
	before := h.ids()
	rel := h.deploy()
	if after := h.ids(); !slices.Equal(before, after) {
		t.Errorf("got containers %v, want %v: the agent recreated what a human had deployed", after, before)
	}
	h.serves(agent.ServingNew, &rel, nil)
}

func TestLabelsAreThoseOfTheCommandLine(t *testing.T) {
	h := newHumanHost(t)
	h.deploy()
	ours := h.inspect("web").Config.Labels
	h.human("down")
	h.human("up", "-d")
	theirs := h.inspect("web").Config.Labels
	for key, value := range theirs {
		if strings.HasPrefix(key, "com.docker.compose.") && key != "com.docker.compose.version" && ours[key] != value {
			t.Errorf("label %s: got %q, want %q", key, ours[key], value)
		}
	}
}

func TestPreflightStopsBeforeAnythingIsTouched(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		outsider      bool
	}{
		"diverged volume": {
			before: "services: {web: {image: REGISTRY/app:stable, volumes: ['data:/data']}}\nvolumes: {data: {}}\n",
			after:  "services: {web: {image: REGISTRY/app:stable, volumes: ['data:/data']}}\nvolumes: {data: {labels: {x: y}}}\n",
		},
		"diverged network of others": {
			before:   "services: {web: {image: REGISTRY/app:stable, networks: [n]}, other: {image: REGISTRY/app:stable, networks: [n]}}\nnetworks: {n: {}}\n",
			after:    "services: {web: {image: REGISTRY/app:stable, networks: [n]}, other: {image: REGISTRY/app:stable, networks: [n]}}\nnetworks: {n: {labels: {x: y}}}\n",
			outsider: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.Push("app", "stable", testbed.Good)
			h.compose(c.before)
			if c.outsider {
				h.human("up", "-d")
				h.svc.Compose.Services = []string{"web"}
			}
			h.deploy()
			before := h.ids()
			h.compose(c.after)
			rel := h.fetch(h.release(h.desired()))
			err := h.target.Apply(t.Context(), h.svc, rel, 100)
			if !errors.Is(err, agent.ErrPreflight) || !strings.Contains(agent.Hint(err), "docker compose -p "+h.project) {
				t.Errorf("got %v, hint %q, want ErrPreflight and the command to do it by hand", err, agent.Hint(err))
			}
			if after := h.ids(); !slices.Equal(before, after) {
				t.Errorf("got containers %v, want %v untouched", after, before)
			}
		})
	}
}

func TestPreflightMissesExternals(t *testing.T) {
	for kind, section := range map[string]string{
		"network": "networks: {gone: {external: true, name: NAME}}", "volume": "volumes: {gone: {external: true, name: NAME}}",
	} {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t)
			h.Push("app", "stable", testbed.Good)
			h.compose("services: {web: {image: REGISTRY/app:stable}}")
			first := h.deploy()
			use := map[string]string{"network": "networks: [gone]", "volume": "volumes: ['gone:/data']"}[kind]
			h.compose("services: {web: {image: REGISTRY/app:stable, " + use + "}}\n" + strings.ReplaceAll(section, "NAME", h.project+"-gone"))
			second := h.fetch(h.release(h.desired()))
			err := h.target.Apply(t.Context(), h.svc, second, 100)
			if !errors.Is(err, agent.ErrPreflight) || !strings.HasPrefix(agent.Hint(err), "docker "+kind+" create") {
				t.Errorf("got %v, hint %q, want ErrPreflight and the command", err, agent.Hint(err))
			}
			h.serves(agent.ServingOld, &second, &first)
		})
	}
}

func TestNetworkOfTheServiceAloneMayChange(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable, networks: [n]}}\nnetworks: {n: {}}\n")
	first := h.deploy()
	h.compose("services: {web: {image: REGISTRY/app:stable, networks: [n]}}\nnetworks: {n: {labels: {x: y}}}\n")
	h.deploy()
	h.apply(h.fetch(h.restoring(first)))
	if got := h.instance("web").Phase; got != agent.PhaseRunning {
		t.Errorf("got phase %s, want running", got)
	}
}

func TestApplyLeavesOthersAlone(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	file := "services: {web: {image: REGISTRY/app:stable, depends_on: [db]}, db: {image: REGISTRY/app:stable, environment: {EDITED: '%s'}}}"
	h.compose(fmt.Sprintf(file, "1"))
	h.human("up", "-d")
	h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	h.compose(fmt.Sprintf(file, "2"))
	h.svc.Compose.Services = []string{"web"}
	db := h.containersOf("db")
	h.human("stop", "db")
	h.deploy()
	if got := h.containersOf("db"); got != db+" exited" && got != db {
		t.Errorf("got %s, want %s: the dependency is not the service's", got, db)
	}
}

// containersOf returns the IDs of the containers of a compose service that need
// not be the unit's.
func (h *host) containersOf(service string) string {
	h.Helper()
	list, err := h.docker.ContainerList(context.WithoutCancel(h.Context()), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "com.docker.compose.project="+h.project).Add("label", "com.docker.compose.service="+service),
	})
	if err != nil {
		h.Fatal(err)
	}
	var ids []string
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return strings.Join(ids, " ")
}
