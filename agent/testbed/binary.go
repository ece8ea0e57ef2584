package testbed

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

//go:embed app/main.go
var appSource []byte

// Binary returns the path of the app's static binary.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := BuildApp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BuildApp builds the app once per machine and version of its source, and
// returns the path of the static binary in the user's cache.
func BuildApp(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache for the app's binary: %w", err)
	}
	sum := sha256.Sum256(append([]byte(runtime.Version()), appSource...))
	dir := filepath.Join(cache, "rollback-agent-testbed")
	path := filepath.Join(dir, "app-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache for the app's binary: %w", err)
	}
	return path, buildApp(ctx, dir, path)
}

// buildApp builds in a folder of its own and moves the result, so that two test
// processes may do it at the same time.
func buildApp(ctx context.Context, dir, path string) error {
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return fmt.Errorf("building the app: %w", err)
	}
	defer os.RemoveAll(work)
	source, built := filepath.Join(work, "main.go"), filepath.Join(work, "app")
	if err := os.WriteFile(source, appSource, 0o644); err != nil {
		return fmt.Errorf("building the app: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", built, source)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the app: %w\n%s", err, out)
	}
	return os.Rename(built, path)
}
