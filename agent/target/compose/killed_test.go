package compose_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"rollback-agent/agent"
	"rollback-agent/agent/target/compose"
	"rollback-agent/agent/testbed"
)

// errand is an Apply that a child process does, to be killed in the middle.
type errand struct {
	Service  agent.Service
	Release  agent.Release
	Snapshot agent.Snapshot
	Config   string
}

const errandVariable = "ROLLBACK_AGENT_TEST_ERRAND"

func TestMain(m *testing.M) {
	if file := os.Getenv(errandVariable); file != "" {
		os.Exit(runErrand(file))
	}
	os.Exit(m.Run())
}

func runErrand(file string) int {
	var e errand
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	if err == nil {
		e.Release.Snapshot = e.Snapshot
		err = compose.New(compose.Options{DockerConfig: e.Config}).Apply(context.Background(), e.Service, e.Release, 100)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// applyKilled applies a release in a process of its own, which is killed after so
// long. It tells whether the process was still at work.
func (h *host) applyKilled(rel agent.Release, after time.Duration) bool {
	h.Helper()
	cmd := h.errand(rel)
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	killed := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer killed.Stop()
	return cmd.Wait() != nil
}

// errand is a process that applies a release.
func (h *host) errand(rel agent.Release) *exec.Cmd {
	h.Helper()
	data, err := json.Marshal(errand{h.svc, rel, rel.Snapshot, h.TempDir()})
	if err != nil {
		h.Fatal(err)
	}
	file := filepath.Join(h.TempDir(), "errand.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		h.Fatal(err)
	}
	cmd := exec.CommandContext(h.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), errandVariable+"="+file)
	return cmd
}

// TestApplyPrintsNothing: the SDK was written for a terminal.
func TestApplyPrintsNothing(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	cmd := h.errand(h.fetch(h.release(h.desired())))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("got %v, output %q, want none", err, out)
	}
}

const killedFile = `
services:
  web: {image: REGISTRY/app:stable, environment: {EDITED: "EDIT"}, volumes: [/data]}
  worker: {image: REGISTRY/app:stable, environment: {EDITED: "EDIT"}, scale: 2}
  sidecar: {image: REGISTRY/app:stable, environment: {EDITED: "EDIT", APP_ADDR: ":9090"}, network_mode: "service:web"}
`

func TestField14KilledApplyConverges(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose(strings.ReplaceAll(killedFile, "EDIT", "0"))
	previous := h.deploy()
	volume := h.anonymousVolume()
	kills := 0
	for round := range 8 {
		h.compose(strings.ReplaceAll(killedFile, "EDIT", strconv.Itoa(round+1)))
		rel := h.fetch(h.release(h.desired()))
		after := 100*time.Millisecond + rand.N(1500*time.Millisecond)
		if h.applyKilled(rel, after) {
			kills++
		}
		target := rel
		if round%2 == 1 { // as likely as going on is going back
			target = h.fetch(h.restoring(previous))
		}
		h.target = compose.New(compose.Options{DockerConfig: t.TempDir()}) // what starts after a kill knows nothing
		began := time.Now()
		h.apply(target)
		t.Logf("round %d, killed after %v, converged in %v", round, after, time.Since(began))
		h.cleanServing(target)
		h.sidecarFollows()
		if got := h.anonymousVolume(); got != volume {
			t.Errorf("round %d: got anonymous volume %s, want %s", round, got, volume)
		}
		previous = target
	}
	if kills == 0 {
		t.Error("no Apply was killed at work")
	}
}

func (h *host) anonymousVolume() string {
	h.Helper()
	mounts := h.inspect("web").Mounts
	i := slices.IndexFunc(mounts, func(m container.MountPoint) bool { return m.Destination == "/data" })
	if i < 0 {
		h.Fatalf("got mounts %v, want /data", mounts)
	}
	return mounts[i].Name
}

// TestApplyCostsLittleBesideUp holds an Apply against the Up inside it.
func TestApplyCostsLittleBesideUp(t *testing.T) {
	h := newSerialHost(t)
	took := &upTime{Handler: slog.DiscardHandler}
	h.target = compose.New(compose.Options{DockerConfig: t.TempDir(), Log: slog.New(took)})
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable, environment: {EDITED: '0'}}}")
	h.deploy()
	best := time.Hour
	for round := range 5 {
		h.compose(fmt.Sprintf("services: {web: {image: REGISTRY/app:stable, environment: {EDITED: '%d'}}}", round+1))
		began := time.Now()
		rel := h.release(h.desired())
		loaded := time.Since(began)
		rel = h.fetch(rel)
		fetched := time.Since(began)
		h.apply(rel)
		whole := time.Since(began)
		t.Logf("load %v, fetch %v, apply %v, of that up %v", loaded, fetched-loaded, whole-fetched, took.last)
		best = min(best, whole-took.last-took.last/10)
	}
	if best > 100*time.Millisecond {
		t.Errorf("got %v beyond Up and its tenth, want at most 100ms", best)
	}
}

// upTime listens to what the target logs about Up.
type upTime struct {
	slog.Handler
	last time.Duration
}

func (u *upTime) Enabled(context.Context, slog.Level) bool { return true }

func (u *upTime) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "up ended" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "took_ms" {
				u.last = time.Duration(a.Value.Int64()) * time.Millisecond
			}
			return true
		})
	}
	return nil
}
