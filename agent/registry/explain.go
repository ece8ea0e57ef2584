package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"rollback-agent/agent"
)

// explain sorts an error into what a repetition may mend and what it cannot, and
// says what a human can do.
func (r *Resolver) explain(ctx context.Context, s *session, ref name.Reference, err error) error {
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return busy
	}
	if agent.IsPermanent(err) || errors.Is(err, agent.ErrUnreachable) {
		return err
	}
	if ctx.Err() != nil {
		return unreachable(context.Cause(ctx))
	}
	// A loopback registry is asked with TLS and without: the certificate says more
	// than the complaint about plain HTTP.
	if answer, ok := errors.AsType[*transport.Error](err); ok && !isCertificate(err) {
		return explainAnswer(s, ref, answer)
	}
	return agent.WithHint(unreachable(err), r.hint(ref.Context().RegistryStr(), err))
}

// hint says what may be wrong between here and the registry.
func (r *Resolver) hint(host string, err error) string {
	_, unknown := errors.AsType[*net.DNSError](err)
	switch {
	case isCertificate(err):
		return "put the CA of " + host + " in " + filepath.Join(r.opts.CertsDir, host, "ca.crt")
	case errors.Is(err, errPlain), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("where %s really has no TLS: insecure = [%q] under [registry]", host, host)
	case unknown:
		return "the name cannot be looked up: check how it is written, and DNS on this machine"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check that the registry is up, and the port"
	}
	return ""
}

func explainAnswer(s *session, ref name.Reference, answer *transport.Error) error {
	host, said := hostOf(ref), text(answer)
	switch answer.StatusCode {
	case http.StatusNotFound:
		err := fmt.Errorf("%s has no such image: %s", host, said)
		return agent.Permanent(agent.WithHint(err, "check name and tag; was it pushed?"))
	case http.StatusUnauthorized, http.StatusForbidden:
		err := fmt.Errorf("%s refused: %s", host, said)
		return agent.Permanent(agent.WithHint(err, loginHint(s.logins.Source(), host)))
	case http.StatusBadRequest:
		return agent.Permanent(fmt.Errorf("%s rejected the question: %s", host, said))
	}
	return unreachable(errors.New(said))
}

// maxText is how much of a registry's own words is kept, in characters.
const maxText = 200

// text is one line: who was asked for what, and what came back. The query of the
// URL, and bodies that are meant for a browser, are left out.
func text(answer *transport.Error) string {
	said := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if answer.Request != nil {
		u := answer.Request.URL
		said = fmt.Sprintf("%s %s://%s%s: %s", answer.Request.Method, u.Scheme, u.Host, u.Path, said)
	}
	if len(answer.Errors) == 0 {
		return said
	}
	words := []rune(strings.Join(strings.Fields(fmt.Sprintf("%s %s", answer.Errors[0].Code, answer.Errors[0].Message)), " "))
	return said + ": " + string(words[:min(len(words), maxText)])
}

func loginHint(source, host string) string {
	login := "docker login " + host
	if host == DockerHub {
		login = "docker login"
	}
	if source == "" {
		return fmt.Sprintf("there is no login for it: run `%s` as the user that runs the agent; some registries answer so for unknown images, too", login)
	}
	return fmt.Sprintf("the login came from %s; renew it: run `%s` as the user that runs the agent", source, login)
}

// unreachable keeps the text of err and adds what it means for the caller.
func unreachable(err error) error { return unreachableError{err} }

type unreachableError struct{ error }

// Error leaves out the login of a URL that a registry has redirected to.
func (e unreachableError) Error() string { return agent.Redact(e.error.Error(), nil) }

func (e unreachableError) Unwrap() []error { return []error{e.error, agent.ErrUnreachable} }

func isCertificate(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, hostname := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return unknown || hostname || invalid
}
