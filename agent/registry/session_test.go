package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"rollback-agent/agent"
)

// recorder answers nothing and remembers that it was asked.
type recorder struct{ asked bool }

var errAsked = errors.New("asked")

func (r *recorder) RoundTrip(*http.Request) (*http.Response, error) {
	r.asked = true
	return nil, errAsked
}

func TestPlainHTTPOnlyWhereAllowed(t *testing.T) {
	resolver := New(Options{Insecure: []string{"registry.lan", "10.0.0.7:5000"}})
	for url, want := range map[string]bool{
		"https://registry.corp/v2/":   true,
		"http://registry.corp/v2/":    false,
		"http://10.0.0.8:5000/v2/":    false,
		"http://192.168.1.2:5000/v2/": false,
		"http://nas.local:5000/v2/":   false,
		"http://10.0.0.7:5000/v2/":    true,
		"http://10.0.0.7:5001/v2/":    false,
		"http://registry.lan:80/v2/":  true,
		"http://localhost:5000/v2/":   true,
		"http://127.0.3.1:5000/v2/":   true,
		"http://[::1]:5000/v2/":       true,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		inner := &recorder{}
		_, err = (&guard{host: req.URL.Host, plain: resolver.mayBePlain, inner: inner}).RoundTrip(req)
		if inner.asked != want || errors.Is(err, errPlain) == want {
			t.Errorf("%s: got sent %t (%v), want %t", url, inner.asked, err, want)
		}
	}
}

func TestRegistryWithoutTLSGetsAHint(t *testing.T) {
	ref, err := name.ParseReference("registry.corp:5000/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, cause := range []error{errPlain, http.ErrSchemeMismatch} {
		err := New(Options{}).explain(t.Context(), &session{}, ref, fmt.Errorf("asking: %w", cause))
		if want := `insecure = ["registry.corp:5000"]`; !strings.Contains(agent.Hint(err), want) {
			t.Errorf("hint for %v: got %q, want …%s…", cause, agent.Hint(err), want)
		}
		if !errors.Is(err, agent.ErrUnreachable) {
			t.Errorf("error: got %v, want one that wraps ErrUnreachable", err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		"-5":                            0,
		"soon":                          0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("Retry-After %q: got %s, want %s", header, got, want)
		}
	}
}
