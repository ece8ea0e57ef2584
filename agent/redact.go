package agent

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
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
	`(?:[A-Za-z0-9+/=]{16,}\s+)+-----END [A-Z ]*PRIVATE KEY-----`, // the end of one whose beginning was cut off
}, "|"))

// userinfo is the login in a URL, also of one that was cut off in it.
var userinfo = regexp.MustCompile(`(://)[^\s/@:]*:[^\s/@]+(?:@|…)`)

// Redact replaces secrets in a text that is stored, logged or sent: each of the
// given values that is long enough to be one, in every form in which logs show it,
// and what looks like a token. Where "…" or "..." tells that a text was cut, a part
// of a secret counts, too.
//
// A text of several lines is to be redacted as a whole: a key has many.
func Redact(text string, secrets []Secret) string {
	if text == "" {
		return ""
	}
	forms := formsOf(secrets)
	var pairs []string
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	for _, mark := range []string{"…", "..."} {
		text = redactCut(text, mark, forms)
	}
	return userinfo.ReplaceAllString(tokens.ReplaceAllString(text, redacted), "${1}"+redacted+"@")
}

// formsOf lists everything that gives one of the secrets away, the longest first:
// one may contain another.
func formsOf(secrets []Secret) []string {
	var forms []string
	for _, s := range secrets {
		for _, part := range s.parts() {
			forms = append(forms, encodings(part)...)
		}
	}
	forms = slices.DeleteFunc(forms, func(form string) bool { return len([]rune(form)) < minSecret })
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(forms)
}

// assigned is a password among other settings in one value.
var assigned = regexp.MustCompile(`(?i)(?:password|passwd|pwd|secret|token)=([^\s;&,]+)`)

// parts are the secret itself, its lines, and the passwords within it.
func (s Secret) parts() []string {
	value := s.Reveal()
	if len([]rune(value)) < minSecret {
		return nil
	}
	parts := []string{value, strings.TrimSpace(value)}
	if strings.Contains(parts[1], "\n") {
		for line := range strings.Lines(value) {
			parts = append(parts, strings.TrimSpace(line))
		}
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		password, _ := u.User.Password()
		_, raw, _ := strings.Cut(u.User.String(), ":")
		parts = append(parts, password, raw)
	}
	for _, found := range assigned.FindAllStringSubmatch(value, -1) {
		parts = append(parts, found[1])
	}
	return parts
}

// encodings are the value as it is and as URLs, headers and JSON have it.
func encodings(value string) []string {
	forms := []string{value, url.QueryEscape(value), url.PathEscape(value), base64.StdEncoding.EncodeToString([]byte(value))}
	if text, err := json.Marshal(value); err == nil {
		forms = append(forms, strings.Trim(string(text), `"`))
	}
	return forms
}

// redactCut hides the beginning of a secret before a mark, and the end of one after
// it.
func redactCut(text, mark string, forms []string) string {
	if len(forms) == 0 || !strings.Contains(text, mark) {
		return text
	}
	pieces := strings.Split(text, mark)
	for i := range pieces {
		if i < len(pieces)-1 {
			pieces[i] = withoutBeginning(pieces[i], forms)
		}
		if i > 0 {
			pieces[i] = withoutEnd(pieces[i], forms)
		}
	}
	return strings.Join(pieces, mark)
}

// withoutBeginning hides the beginning of a secret at the end of a text.
func withoutBeginning(text string, forms []string) string {
	longest := 0
	for _, form := range forms {
		for n := min(len(form), len(text)); n >= minSecret && n > longest; n-- {
			if strings.HasSuffix(text, form[:n]) {
				longest = n
			}
		}
	}
	if longest == 0 {
		return text
	}
	return text[:len(text)-longest] + redacted
}

// withoutEnd hides the end of a secret at the beginning of a text.
func withoutEnd(text string, forms []string) string {
	longest := 0
	for _, form := range forms {
		for n := min(len(form), len(text)); n >= minSecret && n > longest; n-- {
			if strings.HasPrefix(text, form[len(form)-n:]) {
				longest = n
			}
		}
	}
	if longest == 0 {
		return text
	}
	return redacted + text[longest:]
}
