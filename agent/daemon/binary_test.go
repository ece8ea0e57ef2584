package daemon_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the agent as it is shipped, made once for all tests that ask for it.
var built struct {
	sync.Once
	dir string
	err error
}

// TestMain lets more tests run at a time than there are processors, for most of
// the time they wait, and leaves no binary behind.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(built.dir) // "" where no test has asked for it
	os.Exit(code)
}

// agentBinary returns the path of the agent's binary.
func agentBinary(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "agent-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "agent"), "rollback-agent/cmd/agent").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("building the agent: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "agent")
}
