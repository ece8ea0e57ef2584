package slack

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
)

// cutMark stands where a text goes on.
const cutMark = "… (cut)"

// ansi is what makes logs colourful on a terminal.
var ansi = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// fit escapes a text for Slack and cuts it to a length, in UTF-16 units of the
// escaped text, between two characters. Nothing in it is markup afterwards: no
// mention, no link, no end of a code block.
func fit(text string, limit int) string {
	var b strings.Builder
	n, keep, last := 0, 0, rune(0)
	room := limit - units(cutMark)
	for _, r := range ansi.ReplaceAllString(text, "") {
		piece := escape(r, last)
		if n += units(piece); n > limit {
			return b.String()[:keep] + cutMark
		}
		b.WriteString(piece)
		if n <= room {
			keep = b.Len()
		}
		last = r
	}
	return b.String()
}

// escape does what Slack asks for in every text. Backticks in a row are kept
// apart, so that they open and close nothing.
func escape(r, last rune) string {
	switch {
	case r == '&':
		return "&amp;"
	case r == '<':
		return "&lt;"
	case r == '>':
		return "&gt;"
	case r == '`' && last == '`':
		return "\u200b`"
	case unicode.IsControl(r) && r != '\n' && r != '\t':
		return ""
	}
	return string(r)
}

// units is the length as Slack counts it.
func units(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// oneLine keeps a text from pretending to be several.
func oneLine(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch r {
		case '\n', '\r', '\v', '\f', '\u0085', '\u2028', '\u2029':
			return ' '
		}
		return r
	}, text))
}

// join shows lines until the limit, and says how many are left out. Those that
// show nothing are passed over.
func join(lines []string, limit int, show func(string) string) string {
	const reserve = 40 // for the last line
	var shown []string
	n := 0
	for i, line := range lines {
		if line = show(line); line == "" {
			continue
		}
		if n += units(line) + 1; n > limit-reserve {
			return strings.Join(append(shown, fmt.Sprintf("%s %d more", cutMark, len(lines)-i)), "\n")
		}
		shown = append(shown, line)
	}
	return strings.Join(shown, "\n")
}

// tail is join from the other end: what is newest stays.
func tail(lines []string, limit int, show func(string) string) string {
	const reserve = 40 // for the first line
	var shown []string
	n := 0
	for i, line := range slices.Backward(lines) {
		if line = show(line); line == "" {
			continue
		}
		if n += units(line) + 1; n > limit-reserve {
			shown = append(shown, fmt.Sprintf("%s %d before", cutMark, i+1))
			break
		}
		shown = append(shown, line)
	}
	slices.Reverse(shown)
	return strings.Join(shown, "\n")
}

// icon is the table of the package comment.
func icon(m notify.Message) string {
	switch {
	case m.Severity == agent.SeverityCritical:
		return "🚨"
	case m.Severity == agent.SeverityWarning && (m.Icon == notify.IconBad || m.Icon == notify.IconInfo):
		return "⚠️"
	}
	switch m.Icon {
	case notify.IconProgress:
		return "⏳"
	case notify.IconGood:
		return "✅"
	case notify.IconBack:
		return "↩️"
	case notify.IconAsk:
		return "✋"
	case notify.IconBad:
		return "🔴"
	}
	return "ℹ️"
}

// title is never empty.
func title(m notify.Message) string {
	return cmp.Or(oneLine(m.Title), oneLine(m.Service), oneLine(m.Host), "rollback-agent")
}

// date lets Slack show a time in the reader's own zone.
func date(at time.Time) string {
	if at.IsZero() || at.Unix() < 0 {
		return ""
	}
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time_secs}|%s>", at.Unix(), at.UTC().Format("2006-01-02 15:04:05 UTC"))
}
