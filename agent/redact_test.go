package agent_test

import (
	"encoding/base64"
	"net/url"
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
	end := "ABCDEFGHIJKLMNOP1234\nABCDEFGHIJ/LMNOP5678==\n-----END RSA PRIVATE KEY-----\nready"
	if got := agent.Redact("…\n"+end, nil); got != "…\n•••\nready" {
		t.Errorf("got %q, want no end of a key", got)
	}
}

// A secret shows in other forms than its own: each gives it away.
func TestRedactFormsOfASecret(t *testing.T) {
	dsn := "postgres://app:p%40ss/w0rd+1@db/shop"
	multi := "first-line-of-it\nsecond \"line\" of it\n"
	secrets := []agent.Secret{agent.Secret(dsn), agent.Secret(multi), "host=db;Password=opensesame;x=1"}
	encoded := base64.StdEncoding.EncodeToString([]byte(dsn))
	for text, want := range map[string]string{
		"url " + url.QueryEscape(dsn):              "url •••",
		"b64 " + encoded:                           "b64 •••",
		"line second \"line\" of it!":              "line •••!",
		`json {"a":"second \"line\" of it"}`:       `json {"a":"•••"}`,
		"whole " + multi + "end":                   "whole •••end",
		"wrong password: opensesame":               "wrong password: •••",
		"HTTP 500: postgres://app:p%40s…":          "HTTP 500: •••…",
		"logs: ...line-of-it was the first...":     "logs: ...••• was the first...",
		"ends in opense…, other opens":             "ends in •••…, other opens",
		"cut elsewhere redis://other:passw…":       "cut elsewhere redis://•••@",
		"http://127.0.0.1:8080/health is no login": "http://127.0.0.1:8080/health is no login",
	} {
		if got := agent.Redact(text, secrets); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := agent.Redact("user app, password p@ss/w0rd", []agent.Secret{"https://app:p%40ss%2Fw0rd@db/"}); got != "user app, password •••" {
		t.Errorf("got %q, want the password of a URL hidden as people write it", got)
	}
}
