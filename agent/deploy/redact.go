package deploy

import (
	"slices"

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
		hidden[n].Log = make([]string, len(d.Log))
		for i, line := range d.Log {
			hidden[n].Log[i] = w.redact(line)
		}
	}
	return hidden
}
