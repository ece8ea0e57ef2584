package testbed

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SlackOptions say how a Slack workspace with one channel answers.
type SlackOptions struct {
	Addr    string   // "" is a free port of 127.0.0.1
	Token   string   // of the bot; "" is made up
	Secret  string   // last part of the webhook's path; "" is made up
	Channel string   // name without #; "" is "deploys"
	Scopes  []string // of the bot; nil: all that the agent can use
	// Outside says that the bot is no member of the channel.
	Outside  bool
	Archived bool
	// On is told of every message and every edit, in order.
	On func(SlackEvent)
}

// What the workspace is called and how it names its things.
const (
	SlackChannelID = "C0TESTBED01"
	slackTeamID    = "T0TESTBED"
	slackHookID    = "B0TESTBED"
	slackBotName   = "rollback-agent"
	slackTeamName  = "Acme"
)

// Slack is a workspace as far as an agent can see it: an incoming webhook and
// the few methods of the Web API that post, edit and read messages. It is as
// strict as Slack documents itself to be, and refuses kinds of blocks that the
// agent has no use for.
type Slack struct {
	addr      string
	intercept atomic.Pointer[http.HandlerFunc]

	mu       sync.Mutex
	opts     SlackOptions
	server   *http.Server // nil while down
	requests []SlackRequest
	messages []*SlackMessage
	last     int64 // microseconds of the newest ts
}

// SlackRequest is what somebody sent, byte for byte.
type SlackRequest struct {
	Method string
	Path   string
	Header http.Header
	Body   []byte
}

// StartSlack serves until Close.
func StartSlack(opts SlackOptions) (*Slack, error) {
	opts.Token = cmp.Or(opts.Token, "xoxb-1111111111-2222222222-testbedtestbedtestbed")
	opts.Secret = cmp.Or(opts.Secret, "testbedWebhookSecret0000")
	opts.Channel = cmp.Or(opts.Channel, "deploys")
	if opts.Scopes == nil {
		opts.Scopes = []string{"chat:write", "channels:read", "channels:history"}
	}
	s := &Slack{addr: cmp.Or(opts.Addr, "127.0.0.1:0"), opts: opts}
	return s, s.Up()
}

// Up serves again after Down, on the same port.
func (s *Slack) Up() error {
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("starting slack: %w", err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr, s.server = listener.Addr().String(), server
	go server.Serve(listener) // ends with Down or Close
	return nil
}

// Down makes Slack unreachable: connections are refused, those that exist are
// cut. Messages stay.
func (s *Slack) Down() error {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Close()
}

// Close ends it.
func (s *Slack) Close() error { return s.Down() }

// APIURL is the base of the Web API, with a slash at its end.
func (s *Slack) APIURL() string { return "http://" + s.host() + "/api/" }

// WebhookURL is the incoming webhook, a secret.
func (s *Slack) WebhookURL() string {
	return "http://" + s.host() + s.hookPath() + s.Options().Secret
}

// Options returns what holds now, with everything that was made up.
func (s *Slack) Options() SlackOptions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts
}

// Change lets the workspace answer otherwise from now on: another token, fewer
// scopes, an archived channel.
func (s *Slack) Change(change func(*SlackOptions)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.opts)
}

// Requests returns everything that was sent since the start or the last Forget.
func (s *Slack) Requests() []SlackRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests had a path with that part: "chat.update".
func (s *Slack) Count(part string) int {
	n := 0
	for _, request := range s.Requests() {
		if strings.Contains(request.Path, part) {
			n++
		}
	}
	return n
}

// Forget drops the record of requests. Messages stay.
func (s *Slack) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Intercept lets answer stand in for Slack until Intercept(nil). It may pass a
// request on to Serve, and may still read its body.
func (s *Slack) Intercept(answer http.HandlerFunc) {
	if answer == nil {
		s.intercept.Store(nil)
		return
	}
	s.intercept.Store(&answer)
}

func (s *Slack) host() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

func (s *Slack) hookPath() string { return "/services/" + slackTeamID + "/" + slackHookID + "/" }

func (s *Slack) handle(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender is gone
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.requests = append(s.requests, SlackRequest{req.Method, req.URL.Path, req.Header.Clone(), body})
	s.mu.Unlock()
	if answer := s.intercept.Load(); answer != nil {
		(*answer)(w, req)
		return
	}
	s.Serve(w, req)
}

// Serve answers as Slack would that nobody intercepts.
func (s *Slack) Serve(w http.ResponseWriter, req *http.Request) {
	if method, ok := strings.CutPrefix(req.URL.Path, "/api/"); ok {
		s.serveMethod(w, req, method)
		return
	}
	s.serveHook(w, req)
}

// Delete takes a message away, as a human with the rights can.
func (s *Slack) Delete(ts string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.messages, func(m *SlackMessage) bool { return m.TS == ts })
	if at < 0 {
		return errors.New("no such message: " + ts)
	}
	s.messages = slices.Delete(s.messages, at, at+1)
	return nil
}
