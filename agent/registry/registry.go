// Package registry turns an image reference into the digest that its registry
// serves for it now.
//
// Its one promise: asking costs one HEAD request, which no registry counts as a
// pull, and concurrent questions for one reference share it. Logins are Docker's
// own (config.json and credential helpers); passwords travel over TLS only, but
// for loopback and the registries that the config names as insecure.
//
// It pulls nothing, remembers no digest and does not repeat a failed question:
// that is up to whoever asks.
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/singleflight"
)

// Options say how registries are asked. The zero value is usable but for Log.
type Options struct {
	Log          *slog.Logger
	Insecure     []string      // "HOST" or "HOST:PORT" that may be spoken to without TLS, or with any certificate
	DockerConfig string        // config.json or its directory; "" is Docker's own default
	CertsDir     string        // private CAs: HOST[:PORT]/*.crt; "" is /etc/docker/certs.d
	UserAgent    string        // "" is rollback-agent
	Timeout      time.Duration // of one call, login included; 0 is 30 s
}

// Resolver asks registries. It is safe for concurrent use.
type Resolver struct {
	opts   Options
	flight singleflight.Group

	mu         sync.Mutex
	sessions   map[string]*session        // by repository: a login is for one
	transports map[string]*http.Transport // by registry host
}

// New returns a Resolver that has asked nothing yet.
func New(opts Options) *Resolver {
	opts.CertsDir = cmp.Or(opts.CertsDir, "/etc/docker/certs.d")
	opts.UserAgent = cmp.Or(opts.UserAgent, "rollback-agent")
	opts.Timeout = cmp.Or(opts.Timeout, 30*time.Second)
	return &Resolver{opts: opts, sessions: map[string]*session{}, transports: map[string]*http.Transport{}}
}

// Resolve returns the digest ("sha256:…") of the manifest or index that ref
// names. A reference that is pinned by digest is answered without the network.
//
// The error is permanent ([agent.IsPermanent]) where the name is wrong, unknown
// or not for us to see; it wraps [agent.ErrUnreachable] where the registry could
// not be asked, and a [BusyError] where it asked for patience.
func (r *Resolver) Resolve(ctx context.Context, ref string) (string, error) {
	answer, err := r.Ask(ctx, ref)
	return answer.Digest, err
}

// Answer is what came of one question.
type Answer struct {
	Digest string        // "sha256:…"; "" with an error
	Login  string        // where the login came from: "docker-credential-ecr-login", a file, or "" for none
	Took   time.Duration // of the question; 0 where none was needed
}

// Ask is Resolve for somebody who wants to know how it went. Login and Took are
// set with an error, too; the errors and their hints are those of Resolve.
func (r *Resolver) Ask(ctx context.Context, ref string) (Answer, error) {
	parsed, err := r.parse(ref)
	if err != nil {
		return Answer{}, err
	}
	if pinned, ok := parsed.(name.Digest); ok {
		return Answer{Digest: pinned.DigestStr()}, nil
	}
	// The request outlives a caller who gives up: others may be waiting for it.
	shared := context.WithoutCancel(ctx)
	flight := r.flight.DoChan(parsed.Name(), func() (any, error) { return r.ask(shared, parsed) })
	select {
	case <-ctx.Done():
		return Answer{}, fmt.Errorf("resolving %s: %w", ref, context.Cause(ctx))
	case result := <-flight:
		answer := result.Val.(Answer)
		if result.Err != nil {
			return answer, fmt.Errorf("resolving %s: %w", ref, result.Err)
		}
		return answer, nil
	}
}

func (r *Resolver) parse(ref string) (name.Reference, error) {
	parsed, err := parse(ref)
	if err == nil && r.insecure(parsed.Context().RegistryStr()) {
		return parse(ref, name.Insecure)
	}
	return parsed, err
}

// ask is one question with its own time limit. A login that has gone stale since
// the last question is renewed once.
func (r *Resolver) ask(ctx context.Context, ref name.Reference) (answer Answer, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.opts.Timeout,
		fmt.Errorf("%s did not answer within %s", hostOf(ref), r.opts.Timeout))
	defer cancel()
	began := time.Now()
	defer func() { answer.Took = time.Since(began) }()
	s, known, err := r.session(ref.Context())
	if err != nil {
		return Answer{}, err
	}
	digest, err := s.digest(ctx, ref)
	if known && refused(err) {
		r.forget(s)
		if s, _, err = r.session(ref.Context()); err != nil {
			return Answer{}, err
		}
		digest, err = s.digest(ctx, ref)
	}
	if err != nil {
		if !harmless(err) {
			r.forget(s)
		}
		return Answer{Login: s.logins.Source()}, r.explain(ctx, s, ref, err)
	}
	r.opts.Log.Debug("resolved", "ref", ref.Name(), "digest", digest, "took_ms", time.Since(began).Milliseconds())
	return Answer{Digest: digest, Login: s.logins.Source()}, nil
}

func refused(err error) bool {
	answer, ok := errors.AsType[*transport.Error](err)
	return ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// harmless errors say nothing against the login: the next question goes without
// another one.
func harmless(err error) bool {
	_, busy := errors.AsType[*BusyError](err)
	answer, ok := errors.AsType[*transport.Error](err)
	return busy || ok && (answer.StatusCode == http.StatusNotFound || answer.StatusCode >= http.StatusInternalServerError)
}
