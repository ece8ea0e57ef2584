// Package scripts_test proves the demo. The demo checks what the agent
// does from outside; the test checks that the demo can fail.
package scripts_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestDemoTellsTheTruth(t *testing.T) {
	output, code := demo(t)
	if code != 0 {
		t.Fatalf("exit code: got %d, want 0\n%s", code, output)
	}
	for _, want := range []string{"6. A bad edit", "7. What the agent remembers", "All of it was as told."} {
		if !strings.Contains(output, want) {
			t.Errorf("output: got no %q\n%s", want, output)
		}
	}
}

func TestDemoFailsWithoutRollback(t *testing.T) {
	output, code := demo(t, "ROLLBACK_AGENT_TEST_DISABLE_ROLLBACK=1")
	if code != 1 {
		t.Errorf("exit code: got %d, want 1", code)
	}
	for _, want := range []string{"✓ deployment 2: succeeded", "✗ deployment 3: got failed, want rolled_back"} {
		if !strings.Contains(output, want) {
			t.Errorf("output: got no %q\n%s", want, output)
		}
	}
}

func demo(t *testing.T, env ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "./demo.sh")
	cmd.Env = append(os.Environ(), env...)
	combined, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(combined), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("running the demo: %v", err)
	}
	return string(combined), 0
}
