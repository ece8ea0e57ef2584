package testbed

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"
)

// RegistryOptions say how a registry answers.
type RegistryOptions struct {
	Addr     string // "" is a free port of 127.0.0.1
	User     string // "": everybody may read and write
	Password string
	TLS      bool // with a certificate that only CA vouches for
}

// Registry is a real registry (distribution/v3), in process, with its content in
// a folder that goes with it.
type Registry struct {
	Host string // "127.0.0.1:40123"
	CA   []byte // PEM; nil without TLS

	app       *handlers.App
	dir       string // content and passwords
	server    *http.Server
	intercept atomic.Pointer[http.HandlerFunc]
	lost      sync.Map // digests of blobs that are not answered

	mu       sync.Mutex
	requests []Request
}

// Request is what somebody asked a registry.
type Request struct {
	Method, Path, UserAgent string
}

// StartRegistry serves until Close.
func StartRegistry(opts RegistryOptions) (*Registry, error) {
	logrus.SetOutput(io.Discard) // the registry logs every request, globally
	dir, err := os.MkdirTemp("", "testbed-registry-")
	if err != nil {
		return nil, fmt.Errorf("making the registry's folder: %w", err)
	}
	r, err := opts.start(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return r, nil
}

func (o RegistryOptions) start(dir string) (*Registry, error) {
	config, err := o.configuration(dir)
	if err != nil {
		return nil, fmt.Errorf("configuring the registry: %w", err)
	}
	listener, err := net.Listen("tcp", cmp.Or(o.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("starting the registry: %w", err)
	}
	r := &Registry{Host: listener.Addr().String(), dir: dir, app: handlers.NewApp(context.Background(), config)}
	r.server = &http.Server{
		Handler: http.HandlerFunc(r.handle), ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if o.TLS {
		certificate, ca, err := selfSigned()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("making a certificate: %w", err), listener.Close())
		}
		r.CA = ca
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}
	go r.server.Serve(listener) // ends with Close
	return r, nil
}

// Close ends the registry and forgets what it had.
func (r *Registry) Close() error {
	return errors.Join(r.server.Close(), r.app.Shutdown(), os.RemoveAll(r.dir))
}

// Transport trusts the registry's certificate.
func (r *Registry) Transport() http.RoundTripper {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.CA)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return transport
}

// Requests returns everything that was asked since the start or the last Forget.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// Count returns how many requests had the method and a path with that part:
// Count("HEAD", "/manifests/").
func (r *Registry) Count(method, part string) int {
	n := 0
	for _, request := range r.Requests() {
		if request.Method == method && strings.Contains(request.Path, part) {
			n++
		}
	}
	return n
}

// Forget drops the record of requests.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// Intercept lets answer stand in for the registry until Intercept(nil). It may
// pass a request on to Serve.
func (r *Registry) Intercept(answer http.HandlerFunc) {
	if answer == nil {
		r.intercept.Store(nil)
		return
	}
	r.intercept.Store(&answer)
}

// Lose makes the registry deny that it has a blob, as after a bad clean-up.
func (r *Registry) Lose(digest string) { r.lost.Store(digest, true) }

func (r *Registry) handle(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, Request{req.Method, req.URL.Path, req.UserAgent()})
	r.mu.Unlock()
	if answer := r.intercept.Load(); answer != nil {
		(*answer)(w, req)
		return
	}
	r.Serve(w, req)
}

// Serve answers as the registry would that nobody intercepts.
func (r *Registry) Serve(w http.ResponseWriter, req *http.Request) {
	if _, lost := r.lost.Load(filepath.Base(req.URL.Path)); lost && req.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
		return
	}
	r.app.ServeHTTP(w, req)
}

func (o RegistryOptions) configuration(dir string) (*configuration.Configuration, error) {
	config := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem":  {"rootdirectory": dir},
		"delete":      {"enabled": true},
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
	}}
	config.HTTP.Secret = "testbed"
	config.Validation.Disabled = true
	if o.User == "" {
		return config, nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	passwords := filepath.Join(dir, "htpasswd")
	config.Auth = configuration.Auth{"htpasswd": {"realm": "testbed", "path": passwords}}
	return config, os.WriteFile(passwords, fmt.Appendf(nil, "%s:%s\n", o.User, hash), 0o600)
}

func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ca, nil
}
