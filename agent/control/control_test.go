package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/history"
)

// fakeBackend has a real store behind it.
type fakeBackend struct {
	*history.Store
	mu     sync.Mutex
	orders []agent.Order
	refuse error
}

func (f *fakeBackend) Order(_ context.Context, order agent.Order) (agent.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, order)
	return agent.Receipt{Deployment: 7, Message: "begun"}, f.refuse
}

func (f *fakeBackend) Notices(context.Context) ([]agent.Notice, error) {
	return []agent.Notice{{Subject: "slack", Message: "refused"}}, nil
}

func (f *fakeBackend) Status(context.Context) ([]agent.Status, error) {
	return []agent.Status{
		{Service: "api", State: "serving", Plan: agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonUnchanged}},
		{Service: "web", State: "idle", Plan: agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonIdle}},
	}, nil
}

func serve(t *testing.T) (*fakeBackend, string) {
	t.Helper()
	backend, server, socket := prepare(t)
	run(t, server)
	return backend, socket
}

func prepare(t *testing.T) (*fakeBackend, *Server, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := history.Open(filepath.Join(dir, "history.db"), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	backend := &fakeBackend{Store: store}
	server, err := Listen(filepath.Join(dir, "agent.sock"), ServerOptions{Backend: backend, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return backend, server, filepath.Join(dir, "agent.sock")
}

// run serves until the test ends, which must be an orderly end.
func run(t *testing.T, server *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: got %v, want an orderly end", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func record(t *testing.T, s *history.Store, e agent.Entry) {
	t.Helper()
	if _, err := s.Record(e); err != nil {
		t.Fatal(err)
	}
}

func secretDeployment() *agent.Deployment {
	return &agent.Deployment{
		Service: "web", Kind: agent.KindDeploy, State: agent.StateQueued, StartedAt: time.Now(),
		Config: agent.Service{Health: agent.Health{
			URL:     "http://user:hunter2@localhost:3000/health?token=hunter2",
			Headers: map[string]agent.Secret{"Authorization": "Bearer hunter2"},
			Command: []string{"/usr/bin/check", "--password=hunter2"},
		}},
	}
}

func TestClientReadsWhatTheBackendHas(t *testing.T) {
	backend, socket := serve(t)
	for range 3 {
		record(t, backend.Store, agent.Entry{
			Deployment: secretDeployment(),
			Releases:   []agent.Release{{Service: "web", Number: 1, Model: "a\nb", Snapshot: agent.Snapshot{Data: []byte("hunter2")}}},
		})
	}
	client := NewClient(socket, 0)
	if v, err := client.Version(t.Context()); err != nil || v.Version != "1.2.3" {
		t.Errorf("got version %v, %v, want 1.2.3", v, err)
	}
	if all, err := client.Notices(t.Context()); err != nil || len(all) != 1 || all[0].Subject != "slack" {
		t.Errorf("got %+v, %v, want the notice", all, err)
	}
	if all, err := client.Status(t.Context()); err != nil || len(all) != 2 || all[1].Service != "web" {
		t.Errorf("got status %v, %v, want two services", all, err)
	}
	if plans, err := client.Plan(t.Context(), "web"); err != nil || len(plans) != 1 || plans[0].Plan.Reason != agent.ReasonIdle {
		t.Errorf("got plans %v, %v, want web idle", plans, err)
	}
	page, err := client.Deployments(t.Context(), agent.HistoryFilter{Service: "web", Before: 3, Limit: 1})
	if err != nil || len(page) != 1 || page[0].ID != 2 {
		t.Errorf("got %v, %v, want deployment 2", page, err)
	}
	if d, err := client.Deployment(t.Context(), 3); err != nil || d.ID != 3 || d.EndedAt != nil {
		t.Errorf("got %v, %v, want deployment 3, open", d, err)
	}
	if rel, err := client.Release(t.Context(), "web", 1); err != nil || rel.Model != "a\nb" {
		t.Errorf("got %v, %v, want r1 with its model", rel, err)
	}
}

func TestNothingSecretLeaves(t *testing.T) {
	backend, socket := serve(t)
	record(t, backend.Store, agent.Entry{
		Deployment: secretDeployment(),
		Releases:   []agent.Release{{Service: "web", Number: 1, Snapshot: agent.Snapshot{Data: []byte("hunter2")}, Secrets: []agent.Secret{"hunter2"}}},
	})
	for _, path := range []string{"/v1/deployments", "/v1/deployments/1", "/v1/releases/web/1", "/v1/status", "/v1/events"} {
		code, body := ask(t, socket, http.MethodGet, path, "")
		if code != http.StatusOK || strings.Contains(body, "hunter2") {
			t.Errorf("%s: got %d %s, want it without the secret", path, code, body)
		}
	}
	_, body := ask(t, socket, http.MethodGet, "/v1/deployments/1", "")
	for _, want := range []string{`"Authorization":"•••"`, "/usr/bin/check", "token="} {
		if !strings.Contains(body, want) {
			t.Errorf("got %s, want %s in it", body, want)
		}
	}
}

func ask(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://agent"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	_, socket := serve(t)
	for _, c := range []struct {
		method, path, body string
		code               int
		says               string
	}{
		{"GET", "/v1/nothing", "", 404, "/v1/nothing"},
		{"GET", "/", "", 404, ""},
		{"POST", "/v1/status", "", 405, "GET only"},
		{"DELETE", "/v1/deployments/1", "", 405, "GET only"},
		{"GET", "/v1/orders", "", 405, "POST only"},
		{"GET", "/v1/status?x=1", "", 400, `"x"`},
		{"GET", "/v1/deployments?limit=0", "", 400, "limit"},
		{"GET", "/v1/deployments?limit=1001", "", 400, "1000"},
		{"GET", "/v1/deployments?before=-1", "", 400, "before"},
		{"GET", "/v1/deployments?before=1&before=2", "", 400, "repeated"},
		{"GET", "/v1/deployments/seven", "", 400, "seven"},
		{"GET", "/v1/deployments/7", "", 404, "deployment 7"},
		{"GET", "/v1/releases/web/1", "", 404, "r1"},
		{"GET", "/v1/plan?service=nobody", "", 404, "nobody"},
		{"GET", "/v1/events?follow=yes", "", 400, "follow"},
		{"POST", "/v1/orders", "", 400, "order"},
		{"POST", "/v1/orders", `{"verb":"deploy","service":"web"} {}`, 400, "after it"},
		{"POST", "/v1/orders", `{"verb":"deploy","service":"web","sudo":true}`, 400, "sudo"},
		{"POST", "/v1/orders", `{"verb":"destroy","service":"web"}`, 400, "destroy"},
		{"POST", "/v1/orders", `{"verb":"deploy"}`, 400, "service"},
		{"POST", "/v1/orders", `{"verb":"keep"}`, 400, "service"},
		{"POST", "/v1/orders", `{"verb":"pause","service":"web","for":-1}`, 400, "negative"},
		{"POST", "/v1/orders", `{"verb":"deploy","service":"web","note":"` + strings.Repeat("x", 1001) + `"}`, 400, "note"},
		{"POST", "/v1/orders", `{"verb":"deploy","service":"web","note":"` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
	} {
		code, body := ask(t, socket, c.method, c.path, c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || code != c.code || !strings.Contains(p.Error, c.says) || p.Error == "" {
			t.Errorf("%s %s %.60s: got %d %q, want %d with %q", c.method, c.path, c.body, code, p.Error, c.code, c.says)
		}
	}
}

func TestOrderCarriesWhoGaveIt(t *testing.T) {
	backend, socket := serve(t)
	receipt, err := NewClient(socket, 0).Order(t.Context(), agent.Order{Verb: agent.VerbDeploy, Service: "web", Note: "why", Actor: "root, honestly"})
	if err != nil || receipt.Deployment != 7 {
		t.Fatalf("got %v, %v, want deployment 7", receipt, err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	want := agent.Order{Verb: agent.VerbDeploy, Service: "web", Note: "why", Actor: fmt.Sprintf("uid %s (%s)", me.Uid, me.Username)}
	if got := backend.orders[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRefusalsKeepTheirHints(t *testing.T) {
	backend, socket := serve(t)
	for code, refusal := range map[int]error{
		422: errors.New("service is paused"),
		404: fmt.Errorf("deployment 3: %w", history.ErrNotFound),
		503: fmt.Errorf("engine: %w", agent.ErrUnreachable),
	} {
		backend.refuse = agent.WithHint(refusal, "do this")
		_, err := NewClient(socket, 0).Order(t.Context(), agent.Order{Verb: agent.VerbRetry, Service: "web"})
		refused, ok := errors.AsType[*Refused](err)
		if !ok || refused.Code != code || err.Error() != refusal.Error() || agent.Hint(err) != "do this" {
			t.Errorf("got %v (hint %q), want %d %q with its hint", err, agent.Hint(err), code, refusal)
		}
	}
}

func TestFollowSeesEveryEventUntilTheClientGoes(t *testing.T) {
	backend, server, socket := prepare(t)
	server.patience = 30 * time.Millisecond // shorter than the follower stays
	run(t, server)
	for range 5 {
		record(t, backend.Store, agent.Entry{Event: &agent.Event{Kind: agent.EventAgent}})
	}
	ctx, leave := context.WithCancelCause(t.Context())
	left, connected, seen := errors.New("left"), make(chan struct{}), []uint64{}
	go func() {
		<-connected
		for range 20 {
			<-time.After(5 * time.Millisecond)
			if _, err := backend.Record(agent.Entry{Event: &agent.Event{Kind: agent.EventAgent}}); err != nil {
				t.Error(err)
			}
		}
	}()
	err := NewClient(socket, 0).LastEvents(ctx, 2, true, func() error { close(connected); return nil }, func(e agent.Event) error {
		if seen = append(seen, e.Seq); e.Seq == 25 {
			leave(left)
		}
		return nil
	})
	if !errors.Is(err, left) {
		t.Errorf("got %v, want the reason for leaving", err)
	}
	for i, seq := range seen {
		if seq != uint64(i+4) {
			t.Fatalf("got events %v, want 4 to 25 without a gap", seen)
		}
	}
}

func TestFollowEndsWithTheAgent(t *testing.T) {
	_, server, socket := prepare(t)
	stop := run(t, server)
	err := NewClient(socket, 0).LastEvents(t.Context(), 0, true, func() error { go stop(); return nil }, func(agent.Event) error { return nil })
	if err != nil {
		t.Errorf("got %v, want the end of the stream", err)
	}
}

func TestEventsWithoutFollow(t *testing.T) {
	backend, socket := serve(t)
	for range 5 {
		record(t, backend.Store, agent.Entry{Event: &agent.Event{Kind: agent.EventAgent}})
	}
	for path, want := range map[string]int{"/v1/events": 5, "/v1/events?after=3": 2, "/v1/events?limit=1": 1, "/v1/events?last=3": 3, "/v1/events?last=0": 0} {
		if _, body := ask(t, socket, http.MethodGet, path, ""); strings.Count(body, "\n") != want {
			t.Errorf("%s: got %q, want %d lines", path, body, want)
		}
	}
}

func TestListen(t *testing.T) {
	_, server, socket := prepare(t)
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("got mode %v, %v, want 0660", info.Mode(), err)
	}
	if _, err := Listen(socket, ServerOptions{}); err == nil || !strings.Contains(err.Error(), "in use by a live agent") || agent.Hint(err) == "" {
		t.Errorf("got %v, want the live agent named, with a hint", err)
	}
	if err := errors.Join(server.Close(), server.Close()); err != nil {
		t.Errorf("closing twice: got %v, want nothing", err)
	}
	again, err := Listen(socket, ServerOptions{})
	if err != nil {
		t.Fatalf("got %v, want the path to be free", err)
	}
	again.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a SIGKILL leaves it
	l.Close()
	server, err := Listen(socket, ServerOptions{})
	if err != nil {
		t.Fatalf("got %v, want the stale socket replaced", err)
	}
	server.Close()
}

func TestWhatIsNoSocketStays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen(path, ServerOptions{}); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%s: got %v, want an error", path, err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("got %q, %v, want the file untouched", text, err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	_, err := NewClient(socket, 0).Status(t.Context())
	if !errors.Is(err, ErrNotRunning) || agent.Hint(err) != "systemctl start rollback-agent" {
		t.Errorf("got %v (hint %q), want not running, with a hint", err, agent.Hint(err))
	}
}

func TestClientWaitsForAnAgentThatStarts(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent.sock")
	asked := make(chan error, 1)
	go func() {
		_, err := NewClient(socket, 10*time.Second).Status(t.Context())
		asked <- err
	}()
	<-time.After(60 * time.Millisecond) // one try is over
	server, err := Listen(socket, ServerOptions{Backend: &fakeBackend{}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, server)
	if err := <-asked; err != nil {
		t.Errorf("got %v, want an answer", err)
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add(`{"verb":"deploy","service":"web","actor":"me","force":true}`)
	f.Add(`{"verb":"keep","deployment":7}`)
	f.Add(`{"verb":"pause","service":"web","for":7200000000000,"note":"•"}`)
	f.Add(`{"verb":"rollback","service":"web","release":9223372036854775807}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, body string) {
		order, err := decodeOrder(strings.NewReader(body))
		if err != nil {
			if status(err) != http.StatusBadRequest || !reflect.DeepEqual(order, agent.Order{}) {
				t.Errorf("got %+v, %v, want nothing and a bad request", order, err)
			}
			return
		}
		if order.Actor != "" || order.Deployment < 0 || order.Release < 0 || order.For < 0 || (order.Service == "" && order.Deployment == 0) {
			t.Errorf("got %+v, want a sensible order", order)
		}
		again, err := json.Marshal(order)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := decodeOrder(strings.NewReader(string(again))); err != nil || !reflect.DeepEqual(second, order) {
			t.Errorf("got %+v, %v, want %+v again", second, err, order)
		}
	})
}
