package agent

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// minSecret is the length from which a value counts as a secret: masking "1"
// everywhere would leave nothing readable.
const minSecret = 6

// tokens are the shapes of secrets that show themselves.
var tokens = regexp.MustCompile(strings.Join([]string{
	`xox[a-z]-[\w-]+`, // Slack
	`https://hooks\.slack\.com/services/[\w/]+`,        // Slack webhooks
	`\b(?:gh[opsur]_|github_pat_|glpat-)\w{10,}`,       // GitHub, GitLab
	`\bAKIA[0-9A-Z]{16}\b`,                             // AWS
	`\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+`,              // JSON Web Tokens
	`(?i)\b(?:bearer|basic)\s+[A-Za-z0-9+/._~-]{8,}=*`, // Authorization
	`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`,
}, "|"))

// userinfo is the login in a URL.
var userinfo = regexp.MustCompile(`(://)[^\s/@:]*:[^\s/@]+@`)

// Redact replaces secrets in a text that is stored, logged or sent: each of the
// given values that is long enough to be one, and what looks like a token.
func Redact(text string, secrets []Secret) string {
	if text == "" {
		return ""
	}
	sorted := slices.SortedFunc(slices.Values(secrets), func(a, b Secret) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range sorted { // the longest first: one may contain another
		if len([]rune(s.Reveal())) >= minSecret {
			pairs = append(pairs, s.Reveal(), redacted)
		}
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	return userinfo.ReplaceAllString(tokens.ReplaceAllString(text, redacted), "${1}"+redacted+"@")
}
