package compose_test

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/target/compose"
)

// TestField17APIVersionIsNegotiated asks engines of several ages. The contract
// suite runs on the real one.
func TestField17APIVersionIsNegotiated(t *testing.T) {
	for version, want := range map[string]string{"1.40": "v1.40", "1.41": "v1.41", "1.44": "v1.44", "1.56": "v1.56", "1.99": "v1.56"} {
		t.Run(version, func(t *testing.T) {
			socket, asked := fakeEngine(t, version)
			target := compose.New(compose.Options{DockerConfig: t.TempDir()})
			defer target.Close()
			svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{"/nowhere/compose.yaml"}, Project: "p", DockerHost: "unix://" + socket}}
			if _, err := target.Running(t.Context(), svc); err != nil {
				t.Fatal(err)
			}
			for _, path := range asked() {
				if path != "/_ping" && !strings.HasPrefix(path, "/"+want+"/") {
					t.Errorf("got %s asked, want /%s/…", path, want)
				}
			}
		})
	}
}

func TestField17TooOldAnEngineIsAnError(t *testing.T) {
	socket, _ := fakeEngine(t, "1.24")
	target := compose.New(compose.Options{DockerConfig: t.TempDir()})
	defer target.Close()
	svc := agent.Service{Name: "web", Compose: agent.Compose{Files: []string{"/nowhere/compose.yaml"}, Project: "p", DockerHost: "unix://" + socket}}
	if _, err := target.Running(t.Context(), svc); err == nil {
		t.Error("got no error from an engine that speaks API 1.24 at most")
	}
}

// fakeEngine answers with no containers, in one version of the API and in none
// that is newer.
func fakeEngine(t *testing.T, version string) (socket string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var paths []string
	socket = filepath.Join(t.TempDir(), "d.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.URL.Path)
		mu.Unlock()
		w.Header().Set("API-Version", version)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/_ping" {
			return
		}
		if version == "1.24" {
			http.Error(w, `{"message":"client version is too new. Maximum supported API version is 1.24"}`, http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, "[]")
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), paths...)
	}
}
