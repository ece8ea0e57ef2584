package registry_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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

func TestLoginsOfDockersConfig(t *testing.T) {
	tb := testbed.New(t, testbed.RegistryOptions{User: "ada", Password: "engine"})
	ref, want := tb.Push("app", "v1", testbed.Good)
	good := dockerConfig(t, login(tb.Registry.Host, "ada", "engine"))
	wantDigest(t, newResolver(t, registry.Options{DockerConfig: good}), ref, want)
	wantDigest(t, newResolver(t, registry.Options{DockerConfig: filepath.Dir(good)}), ref, want)

	wrong := dockerConfig(t, login(tb.Registry.Host, "ada", "wrong"))
	_, err := newResolver(t, registry.Options{DockerConfig: wrong}).Resolve(t.Context(), ref)
	wantPermanent(t, err, "docker login "+tb.Registry.Host)
	wantPermanent(t, err, wrong)

	_, err = newResolver(t, registry.Options{DockerConfig: dockerConfig(t, "{}")}).Resolve(t.Context(), ref)
	wantPermanent(t, err, "there is no login")

	_, err = newResolver(t, registry.Options{DockerConfig: dockerConfig(t, "{broken")}).Resolve(t.Context(), ref)
	wantPermanent(t, err, "")
}

func TestLoginsOfCredentialHelpers(t *testing.T) {
	tb := testbed.New(t, testbed.RegistryOptions{User: "ada", Password: "engine"})
	ref, want := tb.Push("app", "v1", testbed.Good)
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	script(t, bin, "docker-credential-good", `read -r host; echo "{\"ServerURL\":\"$host\",\"Username\":\"ada\",\"Secret\":\"engine\"}"`)
	script(t, bin, "docker-credential-bad", `echo "no session" && exit 1`)
	script(t, bin, "docker-credential-empty", `echo "credentials not found in native keychain" && exit 1`)
	script(t, bin, "docker-credential-slow", `exec sleep 60`)
	use := func(helper string) *registry.Resolver {
		config := dockerConfig(t, fmt.Sprintf(`{"credHelpers":{%q:%q}}`, tb.Registry.Host, helper))
		return newResolver(t, registry.Options{DockerConfig: config, Timeout: time.Second})
	}
	wantDigest(t, use("good"), ref, want)

	_, err := use("bad").Resolve(t.Context(), ref)
	wantUnreachable(t, err)
	if !strings.Contains(agent.Hint(err), "docker-credential-bad") || !strings.Contains(err.Error(), "no session") {
		t.Errorf("error: got %v (hint %s), want the helper's name and output", err, agent.Hint(err))
	}
	_, err = use("slow").Resolve(t.Context(), ref)
	wantUnreachable(t, err)
	_, err = use("empty").Resolve(t.Context(), ref)
	wantPermanent(t, err, "docker login "+tb.Registry.Host)
	_, err = use("missing").Resolve(t.Context(), ref)
	wantPermanent(t, err, "docker-credential-missing")
}

func TestStaleLoginIsRenewed(t *testing.T) {
	tb := testbed.New(t, testbed.RegistryOptions{User: "ada", Password: "engine"})
	ref, want := tb.Push("app", "v1", testbed.Good)
	config := dockerConfig(t, login(tb.Registry.Host, "ada", "engine"))
	r := newResolver(t, registry.Options{DockerConfig: config})
	wantDigest(t, r, ref, want)
	tb.Registry.Intercept(func(w http.ResponseWriter, _ *http.Request) {
		tb.Registry.Intercept(nil)
		w.WriteHeader(http.StatusUnauthorized)
	})
	wantDigest(t, r, ref, want)
}

func TestBearerTokens(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	front := bearerFront(t, tb.Registry.Host, "ada", "engine")
	ref = strings.Replace(ref, tb.Registry.Host, front, 1)
	config := dockerConfig(t, login(front, "ada", "engine"))
	wantDigest(t, newResolver(t, registry.Options{DockerConfig: config}), ref, want)

	wrong := dockerConfig(t, login(front, "ada", "wrong"))
	_, err := newResolver(t, registry.Options{DockerConfig: wrong}).Resolve(t.Context(), ref)
	wantPermanent(t, err, "docker login "+front)
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

func login(host, user, password string) string {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)
}

func dockerConfig(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// bearerFront asks for a token that its own /token gives out for the login, and
// passes everything else on to the registry.
func bearerFront(t *testing.T, host, user, password string) string {
	t.Helper()
	back := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	mux := http.NewServeMux()
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	mux.HandleFunc("/token", func(w http.ResponseWriter, req *http.Request) {
		if u, p, _ := req.BasicAuth(); u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token":"for %s"}`, req.URL.Query().Get("scope"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer for repository:app:pull" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry"`, front.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		back.ServeHTTP(w, req)
	})
	return strings.TrimPrefix(front.URL, "http://")
}
