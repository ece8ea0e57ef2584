package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

func (h *host) state(id int64, want agent.State) {
	h.t.Helper()
	testbed.Eventually(h.t, 30*time.Second, func() error {
		d, err := h.client.Deployment(h.t.Context(), id)
		if err == nil && d.State != want {
			err = fmt.Errorf("deployment %d is %s, want %s", id, d.State, want)
		}
		return err
	})
}

func (h *host) config() string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, "config.toml"))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// A service that is edited, broken, taken out and put back in the middle of a
// deployment has one worker at any time, and the deployment ends under the config
// that began it.
func TestConfigChangesInMidDeployment(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	good := h.config()
	h.bed.Push("app", "v2", testbed.Sick)
	h.compose("v2", "hello", h.port, "old.txt")
	h.state(2, agent.StateVerifying)

	h.write("config.toml", good+"no_such_key = 1\n")
	h.eventuallyStatus("web", func(s agent.Status) error {
		if len(s.Warnings) == 0 {
			return fmt.Errorf("got %+v, want a warning that its config has faults", s)
		}
		return nil
	})
	h.write("config.toml", strings.Replace(good, `watch_for = "1s"`, `watch_for = "2s"`, 1))
	d := h.ended(2, agent.StateRolledBack)
	if d.Counters.Resumed != 0 {
		t.Errorf("got %d resumptions, want one worker from begin to end", d.Counters.Resumed)
	}
	if d.Config.WatchFor != "1s" {
		t.Errorf("got watch_for %s, want the config that began it", d.Config.WatchFor)
	}
	h.answers("/", "v1")
	h.bed.Push("app", "v3", testbed.Good)
	h.compose("v3", "hello", h.port, "old.txt")
	if d := h.ended(3, agent.StateSucceeded); d.Config.WatchFor != "2s" {
		t.Errorf("got watch_for %s, want the new config", d.Config.WatchFor)
	}
}

// A config that is half-written for a moment takes nothing away.
func TestHalfWrittenConfigChangesNothing(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	good := h.config()
	docker := h.bed.Docker(t)
	image := func() error {
		_, err := docker.ImageInspect(t.Context(), h.bed.Ref("app", "v1"))
		return err
	}
	for range 3 {
		h.write("config.toml", "")
		<-time.After(300 * time.Millisecond)
		h.write("config.toml", good)
		<-time.After(300 * time.Millisecond)
		if _, err := h.status("web"); err != nil {
			t.Fatalf("got %v, want the service still there", err)
		}
	}
	if err := image(); err != nil {
		t.Errorf("got %v, want its image kept", err)
	}
	if receipt, err := h.client.Order(t.Context(), agent.Order{Verb: agent.VerbDeploy, Service: "web"}); err != nil || receipt.Plan.Reason != agent.ReasonUnchanged {
		t.Errorf("got %+v, %v, want it in hand, with nothing to do", receipt, err)
	}
}

// A rejected file is read again when it is mended in place, wherever it is.
func TestRejectedIncludeIsMendedInPlace(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	if err := os.Mkdir(filepath.Join(h.dir, "services.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("services.d/b.toml", "this is no TOML")
	<-time.After(2 * time.Second)
	h.write("services.d/b.toml", "[service.later]\ncompose_file = \"later.yaml\"\n")
	h.eventuallyStatus("later", func(s agent.Status) error {
		if s.State != "invalid" {
			return fmt.Errorf("got %s, want it known", s.State)
		}
		return nil
	})
}
