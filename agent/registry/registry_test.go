package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/testbed"
)

func TestField18OneHEADPerQuestion(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	multi, wantMulti := tb.Push("app", "multi", testbed.Good, testbed.Platforms("linux/amd64", "linux/arm64"))
	tb.Registry.Forget()
	r := newResolver(t, registry.Options{UserAgent: "rollback-agent/test"})
	for range 3 {
		wantDigest(t, r, ref, want)
	}
	wantDigest(t, r, multi, wantMulti)
	if got := tb.Registry.Count("HEAD", "/v2/app/manifests/"); got != 4 {
		t.Errorf("HEAD requests: got %d, want 4", got)
	}
	if got := tb.Registry.Count("GET", "/v2/app/"); got != 0 {
		t.Errorf("GET requests: got %d, want 0", got)
	}
	if got := tb.Registry.Count("GET", "/v2/"); got != 1 {
		t.Errorf("logins: got %d, want 1", got)
	}
	requests := tb.Registry.Requests()
	if got := requests[len(requests)-1].UserAgent; !strings.HasPrefix(got, "rollback-agent/test") {
		t.Errorf("user agent: got %s, want rollback-agent/test…", got)
	}
}

func TestField18QuestionsAreShared(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	tb.Registry.Forget()
	r := newResolver(t, registry.Options{})
	release := make(chan struct{})
	tb.Registry.Intercept(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodHead {
			<-release
		}
		tb.Registry.Serve(w, req)
	})
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if _, err := r.Resolve(hasty, ref); !errors.Is(err, context.Canceled) {
			t.Fatalf("a caller who gave up: got %v, want %v", err, context.Canceled)
		}
	}
	close(release)
	wantDigest(t, r, ref, want)
	// One for the ten; another where they were answered before the last call.
	if got := tb.Registry.Count("HEAD", ""); got > 2 {
		t.Errorf("HEAD requests: got %d, want 1 or 2", got)
	}
}

func TestField18BusyRegistryIsLeftAlone(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	r := newResolver(t, registry.Options{})
	wantDigest(t, r, ref, want)
	tb.Registry.Forget()
	tb.Registry.Intercept(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	_, err := r.Resolve(t.Context(), ref)
	wantUnreachable(t, err)
	busy, ok := errors.AsType[*registry.BusyError](err)
	if !ok || busy.After != 7*time.Second || busy.Host != tb.Registry.Host {
		t.Errorf("error: got %v, want busy for 7s", err)
	}
	if got := len(tb.Registry.Requests()); got != 1 {
		t.Errorf("requests: got %d, want 1 without a repetition", got)
	}
}

func TestTroubleOfTheRegistryIsUnreachable(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	r := newResolver(t, registry.Options{Timeout: time.Second})
	for name, answer := range map[string]http.HandlerFunc{
		"503 Service Unavailable":   status(http.StatusServiceUnavailable),
		"500 Internal Server Error": status(http.StatusInternalServerError),
		"did not answer within 1s":  func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
		"EOF":                       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"502 Bad Gateway":           status(http.StatusBadGateway),
	} {
		t.Run(name, func(t *testing.T) {
			tb.Registry.Intercept(answer)
			_, err := r.Resolve(t.Context(), ref)
			wantUnreachable(t, err)
			if !strings.Contains(err.Error(), name) {
				t.Errorf("error: got %v, want …%s…", err, name)
			}
			tb.Registry.Intercept(nil)
			wantDigest(t, r, ref, want)
		})
	}
	_, err := r.Resolve(t.Context(), fmt.Sprintf("127.0.0.1:%d/app:v1", testbed.Port(t)))
	wantUnreachable(t, err)
}

func TestWrongNamesArePermanent(t *testing.T) {
	tb := testbed.New(t)
	tb.Push("app", "v1", testbed.Good)
	r := newResolver(t, registry.Options{})
	for ref, want := range map[string]string{
		tb.Ref("app", "v2"):   "was it pushed",
		tb.Ref("other", "v1"): "was it pushed",
		"Upper/Case:v1":       "lower case",
		"":                    "a reference is",
		"app@sha256:short":    "a reference is",
	} {
		_, err := r.Resolve(t.Context(), ref)
		wantPermanent(t, err, want)
	}
}

func TestPinnedReferenceNeedsNoNetwork(t *testing.T) {
	r := newResolver(t, registry.Options{})
	digest := "sha256:" + strings.Repeat("ab", 32)
	wantDigest(t, r, "registry.invalid/app@"+digest, digest)
	wantDigest(t, r, "registry.invalid/app:v1@"+digest, digest)
}

func TestGETOnlyWhereHEADIsRefused(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	for name, head := range map[string]http.HandlerFunc{
		"405":                status(http.StatusMethodNotAllowed),
		"200 with no digest": status(http.StatusOK),
	} {
		t.Run(name, func(t *testing.T) {
			tb.Registry.Intercept(func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodHead {
					head(w, req)
					return
				}
				tb.Registry.Serve(w, req)
			})
			wantDigest(t, newResolver(t, registry.Options{}), ref, want)
		})
	}
}

func TestPrivateCA(t *testing.T) {
	tb := testbed.New(t, testbed.RegistryOptions{TLS: true})
	ref, want := tb.Push("app", "v1", testbed.Good)
	certs := t.TempDir()
	_, err := newResolver(t, registry.Options{CertsDir: certs}).Resolve(t.Context(), ref)
	wantUnreachable(t, err)
	ca := filepath.Join(certs, tb.Registry.Host, "ca.crt")
	if !strings.Contains(agent.Hint(err), ca) {
		t.Errorf("hint: got %q, want …%s…", agent.Hint(err), ca)
	}
	if err := os.MkdirAll(filepath.Dir(ca), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, tb.Registry.CA, 0o644); err != nil {
		t.Fatal(err)
	}
	wantDigest(t, newResolver(t, registry.Options{CertsDir: certs}), ref, want)
	wantDigest(t, newResolver(t, registry.Options{CertsDir: t.TempDir(), Insecure: []string{"127.0.0.1"}}), ref, want)
}

func newResolver(t *testing.T, opts registry.Options) *registry.Resolver {
	t.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	if opts.DockerConfig == "" {
		opts.DockerConfig = t.TempDir()
	}
	return registry.New(opts)
}

func wantDigest(t *testing.T, r *registry.Resolver, ref, want string) {
	t.Helper()
	got, err := r.Resolve(t.Context(), ref)
	if err != nil || got != want {
		t.Fatalf("resolving %s: got %q, %v (hint %s), want %q", ref, got, err, agent.Hint(err), want)
	}
}

func wantUnreachable(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, agent.ErrUnreachable) || agent.IsPermanent(err) {
		t.Errorf("error: got %v, want one that wraps ErrUnreachable", err)
	}
}

func wantPermanent(t *testing.T, err error, hint string) {
	t.Helper()
	if !agent.IsPermanent(err) || errors.Is(err, agent.ErrUnreachable) || !strings.Contains(agent.Hint(err), hint) {
		t.Errorf("error: got %v with hint %q, want a permanent one with …%s…", err, agent.Hint(err), hint)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
