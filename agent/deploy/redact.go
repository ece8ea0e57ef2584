package deploy

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"rollback-agent/agent"
)

// redact hides the secrets of what is wanted, deployed and restored in a text that
// is about to be recorded, logged or shown.
func (w *Worker) redact(text string) string { return agent.Redact(text, w.secrets()) }

func (w *Worker) secrets() []agent.Secret {
	secrets := slices.Clone(w.wanted.wanted.Secrets)
	for _, value := range w.svc.Health.Headers {
		secrets = append(secrets, value)
	}
	if u, err := url.Parse(w.svc.Health.URL); err == nil { // what answers may repeat what it was asked
		for _, values := range u.Query() {
			for _, value := range values {
				secrets = append(secrets, agent.Secret(value))
			}
		}
	}
	if c := w.open; c != nil {
		secrets = slices.Concat(secrets, c.to.Secrets, c.restored.Secrets)
	}
	return secrets
}

// redacted is a move whose words may leave the worker.
func (c *cycle) redacted(m move) move {
	m.detail, m.hint = c.redact(m.detail), c.redact(m.hint)
	if m.verdict != nil {
		v := *m.verdict
		v.Evidence = c.redact(v.Evidence)
		m.verdict = &v
	}
	return m
}

func (w *Worker) redactDiagnoses(diagnoses []agent.Diagnosis) []agent.Diagnosis {
	hidden := slices.Clone(diagnoses)
	for n, d := range hidden {
		hidden[n].HealthOutput = w.redact(d.HealthOutput)
		if len(d.Log) > 0 { // as a whole: a key has many lines
			hidden[n].Log = strings.Split(w.redact(strings.Join(d.Log, "\n")), "\n")
		}
	}
	return hidden
}

// learnSecrets finds out what must not be told of a deployment that another process
// began: secrets are not recorded with a release, but its description has them.
func (c *cycle) learnSecrets(ctx context.Context) {
	switch c.dep.State {
	case agent.StateQueued, agent.StateFetching: // the fetch finds out
		return
	}
	var known []agent.Secret
	err := c.during(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, diagnoseTimeout, errLook)
		defer cancel()
		rel, err := c.Target.Fetch(ctx, c.svc, c.to, nil) // a no-op: it is here already
		known = rel.Secrets
		return err
	}, nil)
	if err != nil {
		c.Log.Warn("the secrets of a release are not known", "service", c.dep.Service, "deployment", c.dep.ID, "error", c.redact(err.Error()))
	}
	c.to.Secrets = known
}

// redactedError is an error whose words may leave the worker.
type redactedError struct {
	text string
	err  error
}

func (r redactedError) Error() string { return r.text }
func (r redactedError) Unwrap() error { return r.err }
