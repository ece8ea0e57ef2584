package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/testbed"
)

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
	_, want := tb.Push("app", "v1", testbed.Good)
	front := newFront(t, tb.Registry.Host, "ada", "engine")
	ref := front.host + "/app:v1"
	config := dockerConfig(t, login(front.host, "ada", "engine"))
	wantDigest(t, newResolver(t, registry.Options{DockerConfig: config}), ref, want)

	wrong := dockerConfig(t, login(front.host, "ada", "wrong"))
	_, err := newResolver(t, registry.Options{DockerConfig: wrong}).Resolve(t.Context(), ref)
	wantPermanent(t, err, "docker login "+front.host)
}

func TestField18ExpiredTokenIsRenewedOnce(t *testing.T) {
	tb := testbed.New(t)
	_, want := tb.Push("app", "v1", testbed.Good)
	front := newFront(t, tb.Registry.Host, "ada", "engine")
	ref := front.host + "/app:v1"
	r := newResolver(t, registry.Options{DockerConfig: dockerConfig(t, login(front.host, "ada", "engine"))})
	for hours := range 4 {
		for range 3 {
			wantDigest(t, r, ref, want)
		}
		if got := front.issued.Load(); got != int64(hours)+1 {
			t.Errorf("got %d tokens in hour %d, want one an hour", got, hours+1)
		}
		front.expire()
	}
	if got := tb.Registry.Count("GET", "/manifests/"); got != 0 {
		t.Errorf("got %d GET of manifests, want none", got)
	}
}

// The logins that helpers of clouds give out end as well: then the token server
// refuses them, and the helper has a new one.
func TestField18ExpiredLoginOfAHelperIsRenewedOnce(t *testing.T) {
	tb := testbed.New(t)
	_, want := tb.Push("app", "v1", testbed.Good)
	front := newFront(t, tb.Registry.Host, "ada", "first")
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	calls := filepath.Join(bin, "calls")
	give := func(password string) {
		script(t, bin, "docker-credential-cloud", fmt.Sprintf(`echo x >> %s; echo '{"Username":"ada","Secret":%q}'`, calls, password))
	}
	give("first")
	ref := front.host + "/app:v1"
	r := newResolver(t, registry.Options{DockerConfig: dockerConfig(t, `{"credsStore":"cloud"}`)})
	wantDigest(t, r, ref, want)
	give("second")
	front.setPassword("second")
	front.expire()
	for range 3 {
		wantDigest(t, r, ref, want)
	}
	if got, err := os.ReadFile(calls); err != nil || string(got) != "x\nx\n" {
		t.Errorf("got %q, %v, want two calls of the helper", got, err)
	}
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

// front asks for a token that its own /token gives out for the login, and passes
// everything else on to the registry.
type front struct {
	host     string
	password atomic.Pointer[string]
	issued   atomic.Int64 // tokens; only the newest is good, and none after expire
	good     atomic.Int64
	token    atomic.Pointer[http.HandlerFunc] // instead of its own
}

func (f *front) setPassword(password string) { f.password.Store(&password) }
func (f *front) expire()                     { f.good.Store(-1) }

func newFront(t *testing.T, host, user, password string) *front {
	t.Helper()
	f := &front{}
	f.setPassword(password)
	back := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/token", func(w http.ResponseWriter, req *http.Request) {
		if other := f.token.Load(); other != nil {
			(*other)(w, req)
			return
		}
		if u, p, _ := req.BasicAuth(); u != user || p != *f.password.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.good.Store(f.issued.Add(1))
		fmt.Fprintf(w, `{"token":"%d for %s"}`, f.good.Load(), req.URL.Query().Get("scope"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != fmt.Sprintf("Bearer %d for repository:app:pull", f.good.Load()) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry"`, server.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		back.ServeHTTP(w, req)
	})
	f.host = strings.TrimPrefix(server.URL, "http://")
	return f
}

// private is a registry for ada only, with an image in it.
func private(t *testing.T) (tb *testbed.Testbed, ref, digest string) {
	t.Helper()
	tb = testbed.New(t, testbed.RegistryOptions{User: "ada", Password: "engine"})
	ref, digest = tb.Push("app", "v1", testbed.Good)
	return tb, ref, digest
}
