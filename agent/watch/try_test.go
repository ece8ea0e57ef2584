package watch_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/watch"
)

func TestTrySaysWhyChangesWouldBeLate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "compose.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files := []string{file, filepath.Join(dir, ".env"), filepath.Join(dir, "later", "one.yaml")}
	log := slog.New(slog.DiscardHandler)
	for range 300 { // it lets go of what it took: the kernel gives a user 128
		if err := watch.Try(log, files); err != nil {
			t.Fatalf("got %v, want every watch placed", err)
		}
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err := watch.Try(log, files)
	if restoreErr := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); restoreErr != nil {
		t.Fatal(restoreErr)
	}
	if err == nil || !strings.Contains(agent.Hint(err), "raise the limit") {
		t.Errorf("got %v (hint: %s), want the limit that was hit", err, agent.Hint(err))
	}
}
