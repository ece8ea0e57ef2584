package watch

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/testbed"
)

// short is an interval in which a real registry answers many times.
const short = 500 * time.Millisecond

// wire is Images that ask a real registry.
type wire struct {
	*Images
	tb      *testbed.Testbed
	changes chan agent.Change
	events  chan agent.Event
}

func newWire(t *testing.T, config string, opts ...testbed.RegistryOptions) wire {
	t.Helper()
	w := wire{tb: testbed.New(t, opts...), changes: make(chan agent.Change, 100), events: make(chan agent.Event, 100)}
	if config == "" {
		config = t.TempDir()
	} else {
		config = filepath.Join(t.TempDir(), "config.json")
		auth := base64.StdEncoding.EncodeToString([]byte("ada:engine"))
		if err := os.WriteFile(config, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, w.tb.Registry.Host, auth), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asker := registry.New(registry.Options{Log: slog.New(slog.DiscardHandler), DockerConfig: config, Timeout: 2 * time.Second})
	w.Images = NewImages(slog.New(slog.DiscardHandler), asker, short,
		func(c agent.Change) { w.changes <- c }, func(e agent.Event) { w.events <- e })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v from Run, want nil", err)
		}
	})
	return w
}

// push pushes another image to a tag and returns its digest.
func (w wire) push(version string) (ref, digest string) {
	ref, digest = w.tb.Push("app", "v1", testbed.Good, testbed.Env("APP_NOTE", version))
	return ref, digest
}

func (w wire) want(t *testing.T, ref string, asOf time.Time, digest string) {
	t.Helper()
	if got, err := w.Resolve(t.Context(), ref, asOf); err != nil || got != digest {
		t.Fatalf("resolving %s: got %q, %v, want %q", ref, got, err, digest)
	}
}

// polls waits until the registry was asked so many times more.
func (w wire) polls(t *testing.T, n int) {
	t.Helper()
	from := len(w.tb.Registry.Requests())
	testbed.Eventually(t, 20*time.Second, func() error {
		if got := len(w.tb.Registry.Requests()) - from; got < n {
			return fmt.Errorf("got %d requests, want %d", got, n)
		}
		return nil
	})
}

func (w wire) change(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case c := <-w.changes:
		if c.Service != "web" || c.Cause != "registry" {
			t.Errorf("got %+v, want a change of web by the registry", c)
		}
	case <-time.After(within):
		t.Fatalf("got no change within %s, want one", within)
	}
}

func (w wire) event(t *testing.T, kind agent.EventKind) {
	t.Helper()
	select {
	case e := <-w.events:
		if e.Kind != kind || e.Subject != "registry "+w.tb.Registry.Host {
			t.Errorf("got %+v, want %s of the registry", e, kind)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("got no event within 20 s, want %s", kind)
	}
}

func TestField18OneHEADPerIntervalOnTheWire(t *testing.T) {
	w := newWire(t, "")
	ref, digest := w.push("one")
	for n := range 100 {
		w.Set(fmt.Sprint("service", n), []string{ref})
	}
	w.want(t, ref, time.Time{}, digest)
	w.polls(t, 2)
	w.tb.Registry.Forget()
	began := time.Now()
	w.polls(t, 10)
	took := time.Since(began)
	heads := w.tb.Registry.Count("HEAD", "/v2/app/manifests/v1")
	if all := len(w.tb.Registry.Requests()); all != heads || heads > int(took/short)+1 {
		t.Errorf("got %d requests, %d of them HEAD, in %s, want one HEAD for each %s and nothing else", all, heads, took, short)
	}
}

func TestField18PushIsNoticedWithinOneInterval(t *testing.T) {
	w := newWire(t, "with a login", testbed.RegistryOptions{User: "ada", Password: "engine"})
	ref, digest := w.push("one")
	w.want(t, ref, time.Time{}, digest)
	w.Set("web", []string{ref})
	for _, version := range []string{"two", "three", "four"} {
		_, digest = w.push(version)
		w.change(t, short+time.Second)
		w.want(t, ref, time.Time{}, digest)
	}
	w.tb.Registry.Forget()
	_, digest = w.push("five")
	w.change(t, short+time.Second)
	if got := w.tb.Registry.Count("GET", "/manifests/"); got != 0 {
		t.Errorf("got %d GET of manifests, want none", got)
	}
	w.want(t, ref, time.Now(), digest)
}

func TestField18OutageOnTheWire(t *testing.T) {
	w := newWire(t, "")
	ref, digest := w.push("one")
	w.want(t, ref, time.Time{}, digest)
	w.Set("web", []string{ref})
	w.tb.Registry.Intercept(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	w.event(t, agent.EventTrouble)
	w.want(t, ref, time.Now(), digest)
	if err := w.Problems()["web"]; err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
		t.Errorf("got %v, want what the registry says", err)
	}
	w.tb.Registry.Intercept(nil)
	_, digest = w.push("two")
	w.change(t, 20*time.Second)
	w.event(t, agent.EventMended)
	w.want(t, ref, time.Time{}, digest)
	if err := w.tb.Registry.Close(); err != nil {
		t.Fatal(err)
	}
	w.event(t, agent.EventTrouble)
	w.want(t, ref, time.Now(), digest)
}

func TestField18RetryAfterOnTheWire(t *testing.T) {
	w := newWire(t, "")
	ref, digest := w.push("one")
	w.want(t, ref, time.Time{}, digest)
	w.Set("web", []string{ref})
	var refused atomic.Int64
	w.tb.Registry.Intercept(func(rw http.ResponseWriter, req *http.Request) {
		w.tb.Registry.Intercept(nil)
		refused.Store(time.Now().UnixNano())
		rw.Header().Set("Retry-After", "3")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	testbed.Eventually(t, 10*time.Second, func() error {
		if w.Problems()["web"] == nil {
			return errors.New("got no problem yet, want one")
		}
		return nil
	})
	w.tb.Registry.Forget()
	w.want(t, ref, time.Now(), digest)
	w.polls(t, 1)
	if got := time.Since(time.Unix(0, refused.Load())); got < 3*time.Second || got > 5*time.Second {
		t.Errorf("got the next request after %s, want it after 3 s", got)
	}
	if got := w.tb.Registry.Requests(); !slices.ContainsFunc(got, func(r testbed.Request) bool { return r.Method == "HEAD" }) {
		t.Errorf("got %v, want a HEAD", got)
	}
}
