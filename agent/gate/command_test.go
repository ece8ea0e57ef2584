package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollback-agent/agent"
)

// TestMain lets the test binary play the agent that systemd gave an ambient
// capability.
func TestMain(m *testing.M) {
	if os.Getenv("GATE_TEST_AMBIENT") != "" {
		own, _ := os.ReadFile("/proc/self/status")
		child, err := Command(context.Background(), "web", []string{"/bin/cat", "/proc/self/status"})
		fmt.Println("own", capLine(string(own)), "child", capLine(child), err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func capLine(status string) string {
	_, rest, _ := strings.Cut(status, "CapAmb:")
	return strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
}

func TestField26NoShell(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	argv := []string{"printf", "%s|", "$(touch " + marker + ")", "; touch " + marker, "`id`", "$HOME", "*", ""}
	output, err := Command(t.Context(), "web", argv)
	if want := strings.Join(argv[2:], "|") + "|"; err != nil || output != want {
		t.Errorf("got %q, %v, want the arguments as they are, %q", output, err, want)
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no shell to have run", err)
	}
	if _, err := Command(t.Context(), "web", []string{"echo hello; true"}); err == nil {
		t.Error("got a program by that name, want none")
	}
}

func TestField26NoAmbientCapabilities(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GATE_TEST_AMBIENT=1")
	const dacReadSearch = 2
	cmd.SysProcAttr = &syscall.SysProcAttr{AmbientCaps: []uintptr{dacReadSearch}}
	if os.Geteuid() != 0 { // only a namespace of its own has capabilities to give
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	}
	output, err := cmd.CombinedOutput()
	if want := "own 0000000000000004 child 0000000000000000 <nil>\n"; err != nil || string(output) != want {
		t.Errorf("got %q, %v, want %q", output, err, want)
	}
}

func TestCommandEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_AGENT", "hush")
	t.Setenv("PATH", "/nonexistent")
	output, err := Command(t.Context(), "web", []string{"env"})
	got := strings.Fields(output)
	home, _ := os.UserHomeDir()
	want := []string{"HOME=" + home, "LANG=C.UTF-8", "PATH=" + searchPath, "ROLLBACK_AGENT_SERVICE=web"}
	if slices.Sort(got); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if output, err := Command(t.Context(), "web", []string{"pwd"}); err != nil || output != "/\n" {
		t.Errorf("got %q, %v, want /", output, err)
	}
}

func TestCommandEnds(t *testing.T) {
	for _, c := range []struct {
		argv   []string
		passed bool
		detail string
	}{
		{[]string{"true"}, true, "exit code 0"},
		{[]string{"sh", "-c", "echo fine; echo really >&2"}, true, "exit code 0: fine really"},
		{[]string{"sh", "-c", "echo no database; exit 3"}, false, "exit code 3: no database"},
		{[]string{"sh", "-c", "echo dying; kill -TERM $$"}, false, "ended by terminated: dying"},
		{[]string{"no-such-program"}, false, `there is no program "no-such-program" in `},
		{[]string{"/no/such/program"}, false, "starting /no/such/program: "},
		{[]string{"/etc/passwd"}, false, "starting /etc/passwd: "},
	} {
		expect(t, lookAt(t, agent.Health{Command: c.argv}), c.passed, c.detail)
	}
	if _, err := Command(t.Context(), "web", nil); err == nil {
		t.Error("got no error without a command, want one")
	}
}

func TestCommandKeepsTheEndOfItsOutput(t *testing.T) {
	output, err := Command(t.Context(), "web", []string{"sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"})
	if err != nil || len(output) > maxOutput || !strings.HasSuffix(output, "line 2999\n") {
		t.Errorf("got %d bytes ending in %q, %v, want the last %d", len(output), output[max(0, len(output)-20):], err, maxOutput)
	}
}

func TestCommandTimeoutEndsTheWholeGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	script := `sleep 600 & echo $! > "$0.tmp"; mv "$0.tmp" "$0"; echo waiting; wait`
	began := time.Now()
	sample := lookAt(t, agent.Health{Command: []string{"sh", "-c", script, pidFile}, Timeout: time.Second})
	expect(t, sample, false, "no answer within 1s: waiting")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("got the answer after %s, want it after a second", took)
	}
	gone(t, pidFile)
}

// What a command leaves behind must not hold the next look up for ever.
func TestCommandLeavesAProcessBehind(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	script := `sleep 600 & echo $! > "$0"; exit 0`
	sample := lookAt(t, agent.Health{Command: []string{"sh", "-c", script, pidFile}, Timeout: 20 * time.Second})
	expect(t, sample, true, "exit code 0")
	gone(t, pidFile)
}

// gone waits until the process whose number is in the file has ended.
func gone(t *testing.T, pidFile string) {
	t.Helper()
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("got process %d alive, want it killed with its group", pid)
		}
	}
}

// alive tells whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
