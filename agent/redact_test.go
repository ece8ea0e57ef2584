package agent_test

import (
	"strings"
	"testing"

	"rollback-agent/agent"
)

func TestRedact(t *testing.T) {
	secrets := []agent.Secret{"hunter22", "hunter2233", "short"}
	for text, want := range map[string]string{
		"password hunter2233 and hunter22":                  "password ••• and •••",
		"short stays":                                       "short stays",
		"postgres://app:s3cret@db/x":                        "postgres://•••@db/x",
		"token xoxb-12-abc!":                                "token •••!",
		"Authorization: Bearer abcdefgh12345678":            "Authorization: •••",
		"https://hooks.slack.com/services/T0/B0/xyz failed": "••• failed",
		"plain 127.0.0.1:5000/app@sha256:0123":              "plain 127.0.0.1:5000/app@sha256:0123",
	} {
		if got := agent.Redact(text, secrets); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	key := "-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----"
	if got := agent.Redact("x "+key, nil); strings.Contains(got, "MIIabc") {
		t.Errorf("got %q, want no key", got)
	}
}
