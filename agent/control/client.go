package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"rollback-agent/agent"
)

// ErrNotRunning is wrapped when no agent answers on the socket.
var ErrNotRunning = errors.New("agent is not running")

// DefaultPatience is how long a client waits for an agent that starts.
const DefaultPatience = 2 * time.Second

// Client asks the agent behind a socket. It is safe for concurrent use.
type Client struct {
	socket   string
	patience time.Duration
	http     *http.Client
}

// NewClient returns a client that waits so long for the agent to start; 0 is one
// try. It connects to nothing yet.
func NewClient(socket string, patience time.Duration) *Client {
	c := &Client{socket: socket, patience: patience}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}}
	return c
}

// Version returns what runs behind the socket.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.get(ctx, "/v1/version", nil, &v)
	return v, err
}

// Status returns how every service is.
func (c *Client) Status(ctx context.Context) (all []agent.Status, err error) {
	err = c.get(ctx, "/v1/status", nil, &all)
	return all, err
}

// Notices returns what a human should know of the host as a whole.
func (c *Client) Notices(ctx context.Context) (all []agent.Notice, err error) {
	err = c.get(ctx, "/v1/notices", nil, &all)
	return all, err
}

// Plan returns what is to be done about one service, or all of them for "".
func (c *Client) Plan(ctx context.Context, service string) (all []Plan, err error) {
	query := url.Values{}
	if service != "" {
		query.Set("service", service)
	}
	err = c.get(ctx, "/v1/plan", query, &all)
	return all, err
}

// Deployments returns at most [MaxPage] deployments, newest first.
func (c *Client) Deployments(ctx context.Context, filter agent.HistoryFilter) (all []Deployment, err error) {
	query := url.Values{"limit": {strconv.Itoa(filter.Limit)}}
	if filter.Service != "" {
		query.Set("service", filter.Service)
	}
	if filter.Before > 0 {
		query.Set("before", strconv.FormatInt(filter.Before, 10))
	}
	err = c.get(ctx, "/v1/deployments", query, &all)
	return all, err
}

// Deployment returns one deployment.
func (c *Client) Deployment(ctx context.Context, id int64) (d Deployment, err error) {
	err = c.get(ctx, "/v1/deployments/"+strconv.FormatInt(id, 10), nil, &d)
	return d, err
}

// Release returns one release without its snapshot.
func (c *Client) Release(ctx context.Context, service string, n int64) (rel agent.Release, err error) {
	err = c.get(ctx, "/v1/releases/"+url.PathEscape(service)+"/"+strconv.FormatInt(n, 10), nil, &rel)
	return rel, err
}

// Order gives an order.
func (c *Client) Order(ctx context.Context, order agent.Order) (receipt agent.Receipt, err error) {
	body, err := json.Marshal(order)
	if err != nil {
		return receipt, fmt.Errorf("encoding the order: %w", err)
	}
	answer, err := c.do(ctx, http.MethodPost, "/v1/orders", bytes.NewReader(body))
	if err != nil {
		return receipt, err
	}
	defer answer.Body.Close()
	err = decode(answer.Body, &receipt)
	return receipt, err
}

// LastEvents reports the newest n events, oldest first. With follow it goes on with
// each one that happens until ctx ends, report fails or the agent goes away;
// connected, if not nil, is called when none can be missed any more; its error ends the stream.
func (c *Client) LastEvents(ctx context.Context, n int, follow bool, connected func() error, report func(agent.Event) error) error {
	path := "/v1/events?last=" + strconv.Itoa(n)
	if follow {
		path += "&follow=1"
	}
	answer, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if connected != nil {
		if err := connected(); err != nil {
			return err
		}
	}
	for lines := json.NewDecoder(bufio.NewReader(answer.Body)); ; {
		var event agent.Event
		switch err := lines.Decode(&event); {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("following events: %w", err)
		}
		if err := report(event); err != nil {
			return err
		}
	}
}

func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	answer, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return decode(answer.Body, into)
}

// do returns an answer of status 200, its body open.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, problem(answer)
}

// Refused is an answer of the agent that is no success.
type Refused struct {
	Code    int // of HTTP
	Message string
}

func (r *Refused) Error() string { return r.Message }

func problem(answer *http.Response) error {
	var p Problem
	if err := decode(answer.Body, &p); err != nil || p.Error == "" {
		p.Error = "agent answered " + answer.Status
	}
	return agent.WithHint(&Refused{answer.StatusCode, p.Error}, p.Hint)
}

func (c *Client) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, fs.ErrPermission):
		return agent.WithHint(fmt.Errorf("socket %s: permission denied", c.socket), "run it as root, or as a member of group "+Group)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return agent.WithHint(fmt.Errorf("%w (socket %s)", ErrNotRunning, c.socket), "systemctl start rollback-agent")
	}
	return fmt.Errorf("asking the agent: %w", errors.Unwrap(err))
}

// dial waits for an agent that is about to listen.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	for deadline := time.Now().Add(c.patience); ; {
		conn, err := dialer.DialContext(ctx, "unix", c.socket)
		starting := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
		if !starting || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func decode(body io.Reader, into any) error {
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("reading the agent's answer: %w", err)
	}
	return nil
}
