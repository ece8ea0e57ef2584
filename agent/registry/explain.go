package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"rollback-agent/agent"
)

// explain sorts an error into what a repetition may mend and what it cannot, and
// says what a human can do.
func (r *Resolver) explain(ctx context.Context, s *session, ref name.Reference, err error) error {
	host := ref.Context().RegistryStr()
	if agent.IsPermanent(err) || errors.Is(err, agent.ErrUnreachable) {
		return err
	}
	if ctx.Err() != nil {
		return unreachable(context.Cause(ctx))
	}
	if isCertificate(err) {
		return agent.WithHint(unreachable(err), "put the CA of "+host+" in "+filepath.Join(r.opts.CertsDir, host, "ca.crt"))
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return explainAnswer(s, ref, answer)
	}
	if errors.Is(err, errPlain) || errors.Is(err, http.ErrSchemeMismatch) {
		return agent.WithHint(unreachable(err), fmt.Sprintf("where %s really has no TLS: insecure = [%q] under [registry]", host, host))
	}
	return unreachable(err)
}

func explainAnswer(s *session, ref name.Reference, answer *transport.Error) error {
	host, said := ref.Context().RegistryStr(), text(answer)
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

// text leaves out the library's advice about HEAD.
func text(answer *transport.Error) string {
	if answer.Request == nil || answer.Request.Method != http.MethodHead {
		return answer.Error()
	}
	return fmt.Sprintf("HEAD %s: %d %s", answer.Request.URL.Redacted(), answer.StatusCode, http.StatusText(answer.StatusCode))
}

func loginHint(source, host string) string {
	login := "docker login " + host
	if host == name.DefaultRegistry {
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

func (e unreachableError) Unwrap() []error { return []error{e.error, agent.ErrUnreachable} }

func isCertificate(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, hostname := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return unknown || hostname || invalid
}
