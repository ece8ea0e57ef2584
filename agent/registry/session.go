package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"rollback-agent/agent"
)

// session is a login to one repository. The connections below it are shared by all
// repositories of the registry.
type session struct {
	repository name.Repository
	puller     *remote.Puller
	transport  *http.Transport
	logins     *keychain
}

// session returns what is kept between questions about one repository, and whether
// it was there before.
func (r *Resolver) session(repository name.Repository) (s *session, known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sessions[repository.Name()]; ok {
		return s, true, nil
	}
	s, err = r.connect(repository)
	if err != nil {
		return nil, false, err
	}
	r.sessions[repository.Name()] = s
	return s, false, nil
}

// forget makes the next question start with a new login and new certificates.
func (r *Resolver) forget(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[s.repository.Name()] == s {
		delete(r.sessions, s.repository.Name())
	}
	if host := s.repository.RegistryStr(); r.transports[host] == s.transport {
		delete(r.transports, host)
	}
	s.transport.CloseIdleConnections()
}

func (r *Resolver) connect(repository name.Repository) (*session, error) {
	host := repository.RegistryStr()
	inner, ok := r.transports[host]
	if !ok {
		var err error
		if inner, err = r.transport(host); err != nil {
			return nil, err
		}
		r.transports[host] = inner
	}
	logins := &keychain{config: r.opts.DockerConfig}
	puller, err := remote.NewPuller(
		remote.WithTransport(&guard{host: hostName(host), plain: r.mayBePlain, inner: inner}),
		remote.WithAuthFromKeychain(logins),
		remote.WithUserAgent(r.opts.UserAgent),
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing to ask %s: %w", host, err)
	}
	return &session{repository: repository, puller: puller, transport: inner, logins: logins}, nil
}

// BusyError says that a registry wants to be left alone for a while.
type BusyError struct {
	Host  string
	After time.Duration // what Retry-After said; 0: nothing
}

func (e *BusyError) Error() string {
	if e.After == 0 {
		return fmt.Sprintf("%s answers 429 Too Many Requests", e.Host)
	}
	return fmt.Sprintf("%s answers 429 Too Many Requests, retry after %s", e.Host, e.After)
}

func (e *BusyError) Unwrap() error { return agent.ErrUnreachable }

// errPlain is why a request was not sent.
var errPlain = errors.New("plain HTTP is not allowed")

// guard keeps logins off plain HTTP and turns a 429 into an error that remembers
// for how long.
type guard struct {
	host  string
	plain func(host string) bool
	inner http.RoundTripper
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.plain(req.URL.Host) {
		return nil, fmt.Errorf("asking %s: %w", req.URL.Host, errPlain)
	}
	if redirects(req) > maxRedirects { // go-containerregistry follows them for ever
		return nil, fmt.Errorf("asking %s: %w", g.host, errRedirects)
	}
	resp, err := g.inner.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusTooManyRequests {
		return resp, err
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	resp.Body.Close()
	return nil, &BusyError{Host: g.host, After: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
}

// maxRedirects is how many are followed for one request, as by other clients.
const maxRedirects = 10

var errRedirects = errors.New("it redirects in a circle")

// redirects counts those that led to a request.
func redirects(req *http.Request) int {
	n := 0
	for ; req.Response != nil; req = req.Response.Request {
		n++
	}
	return n
}

// longestRetryAfter is where patience ends, whatever a registry asks for.
const longestRetryAfter = 24 * time.Hour

// retryAfter reads seconds or a date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(longestRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now).Round(time.Second)), longestRetryAfter)
	}
	return 0
}

// transport trusts the system's CAs and those that Docker was given for the host.
func (r *Resolver) transport(host string) (*http.Transport, error) {
	roots, err := r.roots(host)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, InsecureSkipVerify: r.insecure(host)},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second, // shorter than a poll: an idle agent keeps no connections
	}, nil
}

func (r *Resolver) roots(host string) (*x509.CertPool, error) {
	files, err := filepath.Glob(filepath.Join(r.opts.CertsDir, host, "*.crt"))
	if err != nil || len(files) == 0 {
		return nil, err // nil is the system's pool
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of %s: %w", host, err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, agent.Permanent(fmt.Errorf("reading the CA of %s: %s holds no PEM certificate", host, file))
		}
	}
	return pool, nil
}

func (r *Resolver) mayBePlain(host string) bool { return loopback(host) || r.insecure(host) }

func (r *Resolver) insecure(host string) bool {
	return slices.Contains(r.opts.Insecure, host) || slices.Contains(r.opts.Insecure, withoutPort(host))
}

func loopback(host string) bool {
	host = withoutPort(host)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}
