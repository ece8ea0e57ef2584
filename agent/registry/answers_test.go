package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/testbed"
)

const absurd = "sha256:zz"

// manifest lets one handler answer for manifests, and the registry for the rest.
func manifest(tb *testbed.Testbed, answer http.HandlerFunc) {
	tb.Registry.Intercept(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "/manifests/") {
			answer(w, req)
			return
		}
		tb.Registry.Serve(w, req)
	})
}

// head answers HEAD with a digest, and GET with a body.
func head(digest, body string, length int) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", fmt.Sprint(length))
		if digest != "" {
			w.Header().Set("Docker-Content-Digest", digest)
		}
		if req.Method == http.MethodGet {
			fmt.Fprint(w, body)
		}
	}
}

// What is no well-formed digest never becomes one, and is asked for again.
func TestDamagedAnswersAreNoDigest(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	r := newResolver(t, registry.Options{})
	half := `{"schemaVersion":2,"layers":[`
	page := "<html>please log in</html>"
	for name, answer := range map[string]http.HandlerFunc{
		"absurd digest":        head(absurd, "", 10),
		"digest of no hex":     head("sha256:"+strings.Repeat("x", 64), "", 10),
		"short digest":         head("sha256:"+strings.Repeat("a", 63), "", 10),
		"digest of no length":  head("sha256:", "", 10),
		"digest with a suffix": head(want+"\t; rm", "", 10),
		"another algorithm":    head("sha512:"+strings.Repeat("a", 128), "", 10),
		"md5":                  head("md5:"+strings.Repeat("a", 32), "", 10),
		"body cut off":         head("", half, len(half)+100),
		"half a manifest":      head("", half, len(half)),
		"page of a login form": head("", page, len(page)),
		"empty body":           head("", "", 0),
		"JSON of no manifest":  head("", `{"ok":true}`, 11),
	} {
		t.Run(name, func(t *testing.T) {
			manifest(tb, answer)
			got, err := r.Resolve(t.Context(), ref)
			if got != "" {
				t.Errorf("got %q, want no digest", got)
			}
			wantUnreachable(t, err)
			tb.Registry.Intercept(nil)
			wantDigest(t, r, ref, want)
		})
	}
}

// Where HEAD tells nothing, the body is what counts, not what a header says of it.
func TestBodyCountsMoreThanItsHeader(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	manifest(tb, func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		tb.Registry.Serve(lying{w}, req)
	})
	wantDigest(t, newResolver(t, registry.Options{}), ref, want)
}

// lying names another digest than that of the body.
type lying struct{ http.ResponseWriter }

func (l lying) WriteHeader(code int) {
	l.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
	l.ResponseWriter.WriteHeader(code)
}

func (l lying) Write(body []byte) (int, error) {
	l.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
	return l.ResponseWriter.Write(body)
}

func TestRefusalsAreExplained(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	r := newResolver(t, registry.Options{})
	for code, hint := range map[int]string{
		http.StatusUnauthorized: "docker login " + tb.Registry.Host,
		http.StatusForbidden:    "docker login " + tb.Registry.Host,
		http.StatusNotFound:     "was it pushed",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			manifest(tb, status(code))
			_, err := r.Resolve(t.Context(), ref)
			wantPermanent(t, err, hint)
			if !strings.Contains(err.Error(), fmt.Sprint(code, " ", http.StatusText(code))) {
				t.Errorf("got %v, want the code in it", err)
			}
			tb.Registry.Intercept(nil)
			wantDigest(t, r, ref, want)
		})
	}
}

func TestHintsForWhatIsInBetween(t *testing.T) {
	r := newResolver(t, registry.Options{})
	for ref, want := range map[string]string{
		fmt.Sprintf("127.0.0.1:%d/app:v1", testbed.Port(t)): "nothing listens there",
		"registry.invalid/app:v1":                           "cannot be looked up",
	} {
		_, err := r.Resolve(t.Context(), ref)
		wantUnreachable(t, err)
		if !strings.Contains(agent.Hint(err), want) {
			t.Errorf("%s: got hint %q of %v, want …%s…", ref, agent.Hint(err), err, want)
		}
	}
}

// Pages for browsers, stacks of errors and the queries of URLs do not get into an
// error.
func TestErrorsAreOneLineWithoutSecrets(t *testing.T) {
	tb := testbed.New(t)
	ref, _ := tb.Push("app", "v1", testbed.Good)
	for name, body := range map[string]string{
		"page": "<html>\n<body>token=hush</body>",
		"json": `{"errors":[{"code":"UNAVAILABLE","message":"` + strings.Repeat("x", 5000) + `\nhush"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			tb.Registry.Intercept(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadGateway)
				fmt.Fprint(w, body)
			})
			_, err := newResolver(t, registry.Options{}).Resolve(t.Context(), ref)
			wantUnreachable(t, err)
			if text := err.Error(); strings.ContainsAny(text, "\n<") || strings.Contains(text, "hush") || len(text) > 600 || !strings.Contains(text, "502 Bad Gateway") {
				t.Errorf("got %q, want one short line", text)
			}
		})
	}
}

func TestField18TooManyRequests(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	for name, c := range map[string]struct {
		header string
		path   string
		want   time.Duration
	}{
		"seconds":      {"7", "/manifests/", 7 * time.Second},
		"date":         {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), "/manifests/", time.Hour},
		"none":         {"", "/manifests/", 0},
		"nonsense":     {"soon", "/manifests/", 0},
		"years":        {"99999999999999", "/manifests/", 24 * time.Hour},
		"at the login": {"7", "/v2/", 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			tb.Registry.Intercept(func(w http.ResponseWriter, req *http.Request) {
				if !strings.Contains(req.URL.Path, c.path) {
					tb.Registry.Serve(w, req)
					return
				}
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.WriteHeader(http.StatusTooManyRequests)
			})
			r := newResolver(t, registry.Options{})
			_, err := r.Resolve(t.Context(), ref)
			wantBusy(t, err, tb.Registry.Host, c.want)
			tb.Registry.Intercept(nil)
			wantDigest(t, r, ref, want)
		})
	}
}

func wantBusy(t *testing.T, err error, host string, after time.Duration) {
	t.Helper()
	wantUnreachable(t, err)
	busy, ok := errors.AsType[*registry.BusyError](err)
	if !ok || busy.Host != host || (busy.After-after).Abs() > 2*time.Second {
		t.Errorf("got %v, want %s busy for %s", err, host, after)
	}
}

func TestField18TooManyRequestsForTokens(t *testing.T) {
	tb := testbed.New(t)
	tb.Push("app", "v1", testbed.Good)
	front := newFront(t, tb.Registry.Host, "ada", "engine")
	r := newResolver(t, registry.Options{DockerConfig: dockerConfig(t, login(front.host, "ada", "engine"))})
	front.token.Store(&busyToken)
	_, err := r.Resolve(t.Context(), front.host+"/app:v1")
	wantBusy(t, err, front.host, 9*time.Second)
}

var busyToken = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "9")
	w.WriteHeader(http.StatusTooManyRequests)
})

// A session pings once for each repository, whatever becomes of its questions
// that says nothing against the login.
func TestField18PingsOnceForEachRepository(t *testing.T) {
	tb := testbed.New(t)
	ref, want := tb.Push("app", "v1", testbed.Good)
	other, wantOther := tb.Push("other", "v1", testbed.Good)
	r := newResolver(t, registry.Options{})
	wantDigest(t, r, ref, want)
	wantDigest(t, r, other, wantOther)
	tb.Registry.Forget()
	for range 5 {
		wantDigest(t, r, ref, want)
		_, err := r.Resolve(t.Context(), tb.Ref("app", "gone"))
		wantPermanent(t, err, "was it pushed")
		manifest(tb, busyToken)
		_, err = r.Resolve(t.Context(), ref)
		wantBusy(t, err, tb.Registry.Host, 9*time.Second)
		manifest(tb, status(http.StatusServiceUnavailable))
		_, err = r.Resolve(t.Context(), other)
		wantUnreachable(t, err)
		tb.Registry.Intercept(nil)
	}
	if got := tb.Registry.Requests(); slices.ContainsFunc(got, func(r testbed.Request) bool { return r.Method != http.MethodHead }) {
		t.Errorf("got %v, want HEAD requests only", got)
	}
	wantDigest(t, r, ref, want)
}
