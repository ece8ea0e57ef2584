package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/history"
)

// How long a peer may take. Whoever holds the socket is trusted, but a command
// that hangs must not hold anything.
const (
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeader       = 16 << 10
	maxBody         = 64 << 10
)

// ServerOptions are what a server needs; Log and Version may be empty.
type ServerOptions struct {
	Log     *slog.Logger
	Backend Backend
	Version string
}

// Server answers on the socket.
type Server struct {
	listener net.Listener
	backend  Backend
	log      *slog.Logger
	version  string
	patience time.Duration // with a peer that sends its request
	stopping chan struct{} // closed when followers must go
}

// Listen takes the socket path, mode 0660. Nothing is answered before Serve, but
// connections wait. A live agent behind the path, or anything that is no socket,
// is an error.
func Listen(path string, options ServerOptions) (*Server, error) {
	l, err := listen(path)
	if err != nil {
		return nil, err
	}
	s := &Server{
		listener: l, backend: options.Backend, log: options.Log, version: options.Version,
		patience: readTimeout, stopping: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if info, ok := debug.ReadBuildInfo(); ok && s.version == "" {
		s.version = info.Main.Version
	}
	return s, nil
}

// Serve answers until ctx ends, then lets requests under way finish. It returns
// nil after an orderly end, and is called once.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.routes(),
		ConnContext:       withActor,
		ReadHeaderTimeout: s.patience,
		ReadTimeout:       s.patience,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { stopped <- s.shutdown(server) })
	err := server.Serve(s.listener)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the socket: %w", err)
	}
	return <-stopped
}

func (s *Server) shutdown(server *http.Server) error {
	close(s.stopping)
	ctx, cancel := context.WithTimeoutCause(context.Background(), shutdownTimeout, errors.New("requests took too long to end"))
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("ending requests: %w", err), server.Close())
	}
	return nil
}

// Close gives the socket back. It is harmless after Serve.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the socket: %w", err)
	}
	return nil
}

const ordersPath = "/v1/orders"

// A route answers one path: with a value to send as JSON, or an error.
type route func(r *http.Request) (any, error)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, query []string, answer route) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if path == ordersPath { // its answer may wait for a deployment under way to end
				if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
					s.log.Warn("an order may not be answered", "error", err)
				}
			}
			value, err := any(nil), admit(r, method, query)
			if err == nil {
				value, err = answer(r)
			}
			s.send(w, r, value, err)
		})
	}
	handle(http.MethodGet, "/v1/version", nil, s.getVersion)
	handle(http.MethodGet, "/v1/status", nil, s.getStatus)
	handle(http.MethodGet, "/v1/notices", nil, s.getNotices)
	handle(http.MethodGet, "/v1/plan", []string{"service"}, s.getPlan)
	handle(http.MethodGet, "/v1/deployments", []string{"service", "before", "limit"}, s.getDeployments)
	handle(http.MethodGet, "/v1/deployments/{id}", nil, s.getDeployment)
	handle(http.MethodGet, "/v1/releases/{service}/{n}", nil, s.getRelease)
	handle(http.MethodGet, "/v1/events", []string{"after", "last", "limit", "follow"}, s.getEvents)
	handle(http.MethodPost, ordersPath, nil, s.postOrder)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.send(w, r, nil, fault(http.StatusNotFound, "there is no %s", r.URL.Path))
	})
	return mux
}

// admit refuses what the route does not know.
func admit(r *http.Request, method string, query []string) error {
	if r.Method != method {
		return fault(http.StatusMethodNotAllowed, "%s is for %s only", r.URL.Path, method)
	}
	for name, values := range r.URL.Query() {
		if !slices.Contains(query, name) || len(values) != 1 {
			return fault(http.StatusBadRequest, "query parameter %q is unknown or repeated", name)
		}
	}
	return nil
}

func (s *Server) send(w http.ResponseWriter, r *http.Request, value any, err error) {
	if follow, ok := value.(stream); ok && err == nil {
		follow(w, r)
		return
	}
	code := http.StatusOK
	if err != nil {
		code, value = status(err), Problem{Error: err.Error(), Hint: agent.Hint(err)}
		if code >= http.StatusInternalServerError {
			s.log.Error("request was not answered", "path", r.URL.Path, "error", err)
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
		s.log.Error("answer was not encoded", "path", r.URL.Path, "error", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(append(text, '\n')); err != nil {
		s.log.Debug("answer was not read", "path", r.URL.Path, "error", err)
	}
}

// requestError is the requester's fault.
type requestError struct {
	error
	code int
}

func (e requestError) Unwrap() error { return e.error }

func fault(code int, format string, args ...any) error {
	return requestError{fmt.Errorf(format, args...), code}
}

func status(err error) int {
	if e, ok := errors.AsType[requestError](err); ok {
		return e.code
	}
	switch {
	case errors.Is(err, history.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, agent.ErrUnreachable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
