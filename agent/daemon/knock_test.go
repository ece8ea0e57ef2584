package daemon

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/target/compose"
)

// behind returns the outline of a compose service with that in it behind a port.
func behind(t *testing.T, address string, inside int) compose.Outline {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return compose.Outline{Parts: []compose.Part{{
		Name: "web", Running: true, Ports: []compose.Port{{Host: host, Port: number, Inside: inside, Open: true}},
	}}}
}

func proposal(t *testing.T, o compose.Outline) (agent.Health, string) {
	t.Helper()
	var section config.Section
	proposeHealth(t.Context(), o, &section)
	return section.Service.Health, strings.Join(slices.Concat(section.Beside, section.Below), "\n")
}

func serve(t *testing.T, answers map[string]int, otherwise int) string {
	t.Helper()
	server := httptest.NewServer(answering(answers, otherwise))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func answering(answers map[string]int, otherwise int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, known := answers[r.URL.Path]; known {
			w.WriteHeader(status)
			return
		}
		w.WriteHeader(otherwise)
	})
}

func TestHealthIsProposedOfWhatAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answers   map[string]int
		otherwise int
		path      string // "": the open port
		says      string
	}{
		"first of two":    {map[string]int{"/healthz": 204, "/status": 200}, 404, "/healthz", "web answers /healthz"},
		"live":            {map[string]int{"/health/live": 200}, 404, "/health/live", ""},
		"prometheus":      {map[string]int{"/-/healthy": 200}, 404, "/-/healthy", ""},
		"root only":       {map[string]int{"/": 200}, 404, "/", ""},
		"single page":     {nil, 200, "/health", "answers any path with success"},
		"redirects":       {nil, 302, "", "the last with 302"},
		"behind a login":  {nil, 401, "", "the last with 401"},
		"sick just now":   {map[string]int{"/health": 503, "/": 200}, 404, "/", "says now that it is sick"},
		"wholly unwell":   {nil, 500, "", "the last with 500"},
		"api, not health": {map[string]int{"/health": 404, "/api/health": 200}, 404, "/api/health", ""},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, c.answers, c.otherwise)
			health, text := proposal(t, behind(t, address, 3000))
			want := agent.Health{URL: "http://" + address + c.path}
			if c.path == "" {
				want = agent.Health{TCP: address}
			}
			if health.URL != want.URL || health.TCP != want.TCP || !strings.Contains(text, c.says) {
				t.Errorf("got %q, %q and %s, want %q, %q and %q in it", health.URL, health.TCP, text, want.URL, want.TCP, c.says)
			}
		})
	}
}

func TestHealthOfCertificatesAndOfMutePorts(t *testing.T) {
	secure := httptest.NewTLSServer(answering(map[string]int{"/health": 200}, 404))
	t.Cleanup(secure.Close)
	health, _ := proposal(t, behind(t, secure.Listener.Addr().String(), 8443))
	if health.URL != secure.URL+"/health" || !health.TLS.SkipVerify {
		t.Errorf("got %+v, want https and any certificate", health)
	}

	asked := make(chan struct{}, 100)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	go func() {
		for {
			connection, err := mute.Accept()
			if err != nil {
				return
			}
			asked <- struct{}{}
			go func() {
				_, _ = connection.Write([]byte("220 here is no web\r\n"))
				_, _ = connection.Read(make([]byte, 4096))
				connection.Close()
			}()
		}
	}()
	for _, inside := range []int{5432, 7777} { // a database is not spoken to in HTTP at all
		health, text := proposal(t, behind(t, mute.Addr().String(), inside))
		if health.TCP != mute.Addr().String() || !strings.Contains(text, "speaks no HTTP") {
			t.Errorf("inside %d: got %+v and %s, want a TCP probe", inside, health, text)
		}
	}
	if got := len(asked); got != 3 {
		t.Errorf("got %d connections, want one for the database, two for the other", got)
	}
}

func TestHealthOfClosedPortsAndOfManyIsForAHuman(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	health, text := proposal(t, behind(t, address, 3000))
	if health.URL != "" || health.TCP != "" || !strings.Contains(text, `health_url = "http://`+address+`/health"  # web does not answer`) {
		t.Errorf("got %+v and %s, want a comment only", health, text)
	}

	o := behind(t, serve(t, map[string]int{"/health": 200}, 404), 3000)
	admin := behind(t, serve(t, map[string]int{"/health": 200}, 404), 9999)
	admin.Parts[0].Name = "admin"
	o.Parts = append(admin.Parts, o.Parts...)
	health, text = proposal(t, o)
	if want := o.Parts[1].Ports[0].Port; !strings.Contains(health.URL, strconv.Itoa(want)) || !strings.Contains(text, "admin answers here, too") {
		t.Errorf("got %+v and %s, want web at %d, and admin as a comment", health, text, want)
	}

	o.Parts = o.Parts[:1]
	o.Parts[0].Ports = nil
	if _, text := proposal(t, o); !strings.Contains(text, "Nothing here proves health") {
		t.Errorf("got %s, want a warning that nothing proves health", text)
	}
	for port := range 40 {
		o.Parts[0].Ports = append(o.Parts[0].Ports, compose.Port{Host: "localhost", Port: 20000 + port, Inside: 20000 + port})
	}
	if _, text := proposal(t, o); !strings.Contains(text, "28 more ports") {
		t.Errorf("got %s, want the first twelve only", text)
	}
}
