package daemon_test

import (
	"errors"
	"fmt"
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

func (h *host) status(name string) (agent.Status, error) {
	all, err := h.client.Status(h.t.Context())
	if err != nil {
		return agent.Status{}, err
	}
	for _, s := range all {
		if s.Service == name {
			return s, nil
		}
	}
	return agent.Status{}, fmt.Errorf("no service %q in %+v", name, all)
}

func (h *host) eventuallyStatus(name string, ask func(agent.Status) error) {
	h.t.Helper()
	testbed.Eventually(h.t, 30*time.Second, func() error {
		s, err := h.status(name)
		if err != nil {
			return err
		}
		return ask(s)
	})
}

// A compose file that comes later is noticed; one service's fault disables no other.
func TestMissingComposeFileIsWaitedFor(t *testing.T) {
	h := newHost(t)
	h.begin()
	h.eventuallyStatus("web", func(s agent.Status) error {
		if s.State != "invalid" || !strings.Contains(s.Error, "compose.yaml") {
			return fmt.Errorf("got %+v, want the missing file named", s)
		}
		return nil
	})
	h.compose("v1", "hello", h.port, "old.txt")
	testbed.Eventually(t, 30*time.Second, func() error {
		_, err := h.client.Deployment(t.Context(), 1)
		return err
	})
	h.ended(1, agent.StateSucceeded)
}

func TestConfigIsReadAgain(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	good, err := os.ReadFile(filepath.Join(h.dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}

	h.write("config.toml", string(good)+"\n[service.later]\ncompose_file = \"later.yaml\"\n")
	h.eventuallyStatus("later", func(s agent.Status) error {
		if s.State != "invalid" {
			return fmt.Errorf("got %s, want invalid: its file is missing", s.State)
		}
		return nil
	})

	h.write("config.toml", "this is no TOML")
	testbed.Eventually(t, 30*time.Second, func() error {
		found := errors.New("no event says that the config was not taken over")
		err := h.client.LastEvents(t.Context(), 50, false, nil, func(e agent.Event) error {
			if e.Kind == agent.EventTrouble && strings.Contains(e.Message, "not taken over") {
				found = nil
			}
			return nil
		})
		return errors.Join(err, found)
	})
	if _, err := h.status("later"); err != nil {
		t.Errorf("got %v, want the old config in force", err)
	}

	// A start with a config that cannot be used runs with the last accepted one.
	h.stop()
	h.begin()
	h.eventuallyStatus("web", func(s agent.Status) error {
		if s.Release != 1 {
			return fmt.Errorf("got %+v, want the service as it was", s)
		}
		return nil
	})

	h.write("config.toml", string(good))
	testbed.Eventually(t, 30*time.Second, func() error {
		if _, err := h.status("later"); err == nil {
			return errors.New("the service that was taken out is still there")
		}
		return nil
	})
	h.answers("/", "v1") // what was never in question runs on
}

func TestBrokenConfigWithoutAnAcceptedOne(t *testing.T) {
	h := newHost(t)
	h.write("config.toml", "[service.web\n")
	_, err := daemon.New(daemon.Options{Config: filepath.Join(h.dir, "config.toml"), StateDir: filepath.Join(h.dir, "state"), Socket: h.socket()})
	faults, ok := errors.AsType[agent.Faults](err)
	if !ok || len(faults) != 1 || faults[0].Line != 1 {
		t.Errorf("got %v, want one fault in line 1", err)
	}
}

func TestSocketOfALiveAgent(t *testing.T) {
	h := newHost(t)
	h.begin()
	_, err := daemon.New(daemon.Options{Config: filepath.Join(h.dir, "config.toml")})
	if err == nil || !strings.Contains(err.Error(), "live agent") {
		t.Errorf("got %v, want it to name the live agent", err)
	}
	if _, err := control.NewClient(h.socket(), 0).Status(t.Context()); err != nil {
		t.Errorf("got %v, want the live agent unharmed", err)
	}
}

// A damaged history is kept aside, and automation waits for a human: what was in
// quarantine is not known any more.
func TestDamagedHistoryPausesAutomation(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	h.stop()
	store := filepath.Join(h.dir, "state", "history.db")
	damaged, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(damaged) / 2 {
		damaged[i] ^= 0x5a
	}
	if err := os.WriteFile(store, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	h.begin()
	h.eventuallyStatus("web", func(s agent.Status) error {
		if s.Pause == nil || s.Pause.Reason != agent.ReasonLost {
			return fmt.Errorf("got %+v, want it paused", s)
		}
		return nil
	})
	kept, err := filepath.Glob(store + ".damaged-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("got %v, %v, want the damaged file kept aside", kept, err)
	}
	if got, err := os.ReadFile(kept[0]); err != nil || string(got) != string(damaged) {
		t.Errorf("got %d bytes, %v, want it as it was", len(got), err)
	}
	h.answers("/", "v1")
}
