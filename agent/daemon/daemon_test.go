package daemon_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
	"rollback-agent/agent/daemon"
	"rollback-agent/agent/testbed"
)

// host is a real engine, a real registry, and an agent on a compose file.
type host struct {
	t       *testing.T
	bed     *testbed.Testbed
	dir     string
	project string
	port    int
	client  *control.Client
	stop    func()
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, bed: testbed.New(t), dir: t.TempDir(), port: testbed.Port(t)}
	h.project = h.bed.Project(t)
	h.bed.Push("app", "v1", testbed.Good)
	h.write("config.toml", fmt.Sprintf(`
state_dir = %q
socket = %q
[service.web]
compose_file = "compose.yaml"
health_url = "http://127.0.0.1:%d/health"
health_interval = "200ms"
min_healthy_time = "1s"
health_deadline = "6s"
watch_for = "1s"
max_restarts = 1
`, filepath.Join(h.dir, "state"), h.socket(), h.port))
	h.write("old.txt", "old page")
	h.write("new.txt", "new page")
	h.client = control.NewClient(h.socket(), 5*time.Second)
	return h
}

func (h *host) socket() string { return filepath.Join(h.dir, "agent.sock") }

func (h *host) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// compose saves the compose file as an editor does: beside it, then renamed.
func (h *host) compose(tag, greeting string, port int, page string) {
	h.t.Helper()
	h.write("compose.yaml.new", fmt.Sprintf(`
name: %s
services:
  web:
    image: %s
    restart: unless-stopped
    environment: {APP_GREETING: %q}
    ports: ["127.0.0.1:%d:8080"]
    volumes: ["./%s:/page.txt:ro"]
`, h.project, h.bed.Ref("app", tag), greeting, port, page))
	if err := os.Rename(filepath.Join(h.dir, "compose.yaml.new"), filepath.Join(h.dir, "compose.yaml")); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) begin() {
	h.t.Helper()
	d, err := daemon.New(daemon.Options{Config: filepath.Join(h.dir, "config.toml"), StateDir: filepath.Join(h.dir, "state"), Log: slog.New(slog.NewTextHandler(h.t.Output(), nil))})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("got %v, want the agent to stop in order", err)
		}
		h.stop = nil
	}
	h.t.Cleanup(func() {
		if h.stop != nil {
			h.stop()
		}
	})
}

// ended waits for a deployment to end.
func (h *host) ended(id int64, state agent.State) control.Deployment {
	h.t.Helper()
	var d control.Deployment
	testbed.Eventually(h.t, 60*time.Second, func() (err error) {
		if d, err = h.client.Deployment(h.t.Context(), id); err != nil {
			return err
		}
		if !d.State.Ended() {
			return fmt.Errorf("deployment %d is %s (%s)", id, d.State, d.Message)
		}
		return nil
	})
	if d.State != state {
		h.t.Fatalf("got deployment %d %s (%s: %s), want %s", id, d.State, d.Reason, d.Message, state)
	}
	return d
}

func (h *host) answers(path, want string) {
	h.t.Helper()
	testbed.Eventually(h.t, 10*time.Second, func() error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", h.port, path))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if !strings.Contains(string(body), want) {
			return fmt.Errorf("got %q, want %q in it", body, want)
		}
		return nil
	})
}

// The main job, as a user sees it from outside.
func TestDeploysVerifiesAndRollsBack(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	h.answers("/", "v1")

	h.bed.Push("app", "v2", testbed.Crash)
	h.compose("v2", "hello", h.port, "old.txt")
	d := h.ended(2, agent.StateRolledBack)
	h.answers("/", "v1")
	if d.Reason != agent.ReasonCrash || d.Serving != agent.ServingOld || len(d.Diagnoses) == 0 || len(d.Diagnoses[0].Log) == 0 {
		t.Errorf("got %s, serving %s, diagnoses %+v, want a crash, the old release and its last words", d.Reason, d.Serving, d.Diagnoses)
	}

	h.bed.Push("app", "v3", testbed.Sick)
	h.compose("v3", "hello", h.port, "old.txt")
	d = h.ended(3, agent.StateRolledBack)
	if d.Reason != agent.ReasonHealthDeadline || !strings.Contains(d.Verdicts[0].Evidence, "500") {
		t.Errorf("got %s %+v, want the deadline and the answer", d.Reason, d.Verdicts)
	}
	h.answers("/", "v1")

	h.compose("v1", "goodbye", testbed.Port(t), "new.txt") // nobody answers at the health URL now
	h.ended(4, agent.StateRolledBack)
	h.answers("/", "hello")
	h.answers("/file?path=/page.txt", "old page")
}

// The same bad image is not tried again by an agent that was restarted, and what
// was open goes on.
func TestField03RestartInMidDeployment(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	h.bed.Push("app", "v2", testbed.Sick)
	h.compose("v2", "hello", h.port, "old.txt")
	testbed.Eventually(t, 30*time.Second, func() error {
		d, err := h.client.Deployment(t.Context(), 2)
		if err == nil && d.State != agent.StateVerifying {
			err = fmt.Errorf("deployment 2 is %s", d.State)
		}
		return err
	})
	h.stop()
	h.begin()
	h.ended(2, agent.StateRolledBack)
	h.answers("/", "v1")
}

func TestEngineAwayIsToldAndWaitedFor(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	config, err := os.ReadFile(filepath.Join(h.dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("config.toml", string(config)+fmt.Sprintf("docker_host = \"unix://%s/none.sock\"\n", h.dir))
	h.begin()
	testbed.Eventually(t, 30*time.Second, func() error {
		all, err := h.client.Status(t.Context())
		if err != nil {
			return err
		}
		if len(all) != 1 || !strings.Contains(all[0].Error, "none.sock") {
			return fmt.Errorf("got %+v, want an error that names the socket", all)
		}
		return nil
	})
}
