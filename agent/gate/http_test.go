package gate

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rollback-agent/agent"
)

// lookAt asks the one probe that the config describes.
func lookAt(t *testing.T, h agent.Health) agent.Sample {
	t.Helper()
	if h.Timeout == 0 {
		h.Timeout = 5 * time.Second
	}
	probes := Probes(agent.Service{Name: "web", Health: h}, nil)
	if len(probes) != 1 {
		t.Fatalf("got %d probes, want 1", len(probes))
	}
	sample, ok := probes[0].Look(t.Context())
	if !ok {
		t.Fatalf("got no sample, want one: %s", sample.Detail)
	}
	return sample
}

func expect(t *testing.T, got agent.Sample, passed bool, detail string) {
	t.Helper()
	if got.Passed != passed || !strings.HasPrefix(got.Detail, detail) || got.At.IsZero() || got.Gate == "" {
		t.Errorf("got %+v, want passed %v: %s", got, passed, detail)
	}
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestHTTPStatus(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		if code == 302 {
			w.Header().Set("Location", "/200")
		}
		w.WriteHeader(code)
		if code >= 400 {
			fmt.Fprint(w, "it is\n\x1b[31mbroken\x1b[0m "+strings.Repeat("x", 200))
		}
	})
	broken := "it is [31mbroken [0m " + strings.Repeat("x", 120-21) + "…"
	for _, c := range []struct {
		path   string
		want   []agent.StatusRange
		passed bool
		detail string
	}{
		{"/200", nil, true, "HTTP 200 in "},
		{"/299", nil, true, "HTTP 299 in "},
		{"/302", nil, false, "HTTP 302, want 200–299, redirects are not followed: /200"},
		{"/302", []agent.StatusRange{{From: 302, To: 302}}, true, "HTTP 302 in "},
		{"/500", nil, false, "HTTP 500, want 200–299: " + broken},
		{"/404", []agent.StatusRange{{From: 200, To: 200}, {From: 300, To: 399}}, false, "HTTP 404, want 200 or 300–399: it is"},
	} {
		expect(t, lookAt(t, agent.Health{URL: server.URL + c.path, Status: c.want}), c.passed, c.detail)
	}
}

func TestHTTPBody(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			fmt.Fprint(w, "status: ok")
		case "/late":
			fmt.Fprint(w, strings.Repeat("x", maxBody-8), "status: ok")
		case "/endless":
			fmt.Fprint(w, "status:")
			w.(http.Flusher).Flush()
			fmt.Fprint(w, " ok")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/cut":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "status")
		}
	})
	for path, want := range map[string]struct {
		passed bool
		detail string
	}{
		"/early":   {true, `HTTP 200 with "status: ok" in `},
		"/late":    {false, `HTTP 200, but no "status: ok" in the answer: xxx`},
		"/endless": {true, `HTTP 200 with "status: ok" in `},
		"/cut":     {false, `HTTP 200, then the connection was closed without an answer`},
		"/empty":   {false, `HTTP 200, but no "status: ok" in the answer`},
	} {
		expect(t, lookAt(t, agent.Health{URL: server.URL + path, Body: "status: ok"}), want.passed, want.detail)
	}
}

func TestHTTPHeaders(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example" || r.Header.Get("Authorization") != "Bearer hush" || r.Header.Get("Accept-Encoding") != "" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	headers := map[string]agent.Secret{"Host": "shop.example", "Authorization": "Bearer hush"}
	expect(t, lookAt(t, agent.Health{URL: server.URL, Headers: headers}), true, "HTTP 200 in ")
	expect(t, lookAt(t, agent.Health{URL: server.URL}), false, "HTTP 403, want 200–299")
}

func TestHTTPAsksTheServiceAndNoProxy(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) {})
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	expect(t, lookAt(t, agent.Health{URL: "http://127.0.0.1:" + port}), true, "HTTP 200 in ")
	transport, err := transportFor(agent.Health{})
	if err != nil || transport.Proxy != nil {
		t.Errorf("got a proxy function (%v), want none", err)
	}
}

func TestHTTPConnectsAnew(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var connections atomic.Int32
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	for range 3 {
		expect(t, lookAt(t, agent.Health{URL: server.URL}), true, "HTTP 200 in ")
	}
	if got := connections.Load(); got != 3 {
		t.Errorf("got %d connections for three looks, want 3", got)
	}
}

func TestHTTPNoAnswer(t *testing.T) {
	hanging := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	expect(t, lookAt(t, agent.Health{URL: hanging.URL, Timeout: 50 * time.Millisecond}), false, "no answer within 50ms")
	closed := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			connection.Close()
		}
	})
	expect(t, lookAt(t, agent.Health{URL: closed.URL}), false, "the connection was closed without an answer")
	expect(t, lookAt(t, agent.Health{URL: "http://" + freeAddress(t)}), false, "connection refused")
	if got := lookAt(t, agent.Health{URL: "http://nowhere.invalid/?token=hush"}); got.Passed || strings.Contains(got.Detail, "hush") {
		t.Errorf("got %+v, want a failure that does not repeat the URL", got)
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	ca, none := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for path, data := range map[string][]byte{ca: block, none: []byte("nothing")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		tls    agent.TLS
		passed bool
		detail string
	}{
		{agent.TLS{}, false, "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{agent.TLS{CAFile: ca}, true, "HTTP 200 in "},
		{agent.TLS{CAFile: ca, ServerName: "example.com"}, true, "HTTP 200 in "},
		{agent.TLS{CAFile: ca, ServerName: "other.org"}, false, "tls: failed to verify certificate: x509: certificate is valid for"},
		{agent.TLS{SkipVerify: true}, true, "HTTP 200 in "},
		{agent.TLS{CAFile: none}, false, "ca_file " + none + " holds no certificate"},
		{agent.TLS{CAFile: dir + "/absent"}, false, "reading ca_file: "},
	} {
		expect(t, lookAt(t, agent.Health{URL: server.URL, TLS: c.tls}), c.passed, c.detail)
	}
}

func TestTCP(t *testing.T) {
	listener := listen(t)
	held := make(chan net.Conn, 10)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			held <- connection
		}
	}()
	expect(t, lookAt(t, agent.Health{TCP: listener.Addr().String()}), true, "connected in ")
	expect(t, lookAt(t, agent.Health{TCP: freeAddress(t)}), false, "connection refused")
	(<-held).Close()
}

func TestTCPThroughAPortProxyWithoutAListener(t *testing.T) {
	listener := listen(t)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
	expect(t, lookAt(t, agent.Health{TCP: listener.Addr().String()}), false, "accepted and closed at once")
}

func TestTCPWithAGreeting(t *testing.T) {
	listener := listen(t)
	go func() {
		if connection, err := listener.Accept(); err == nil {
			fmt.Fprint(connection, "220 hello\r\n")
			connection.Close()
		}
	}()
	expect(t, lookAt(t, agent.Health{TCP: listener.Addr().String()}), true, "connected in ")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	listener.Close()
	return listener.Addr().String()
}
