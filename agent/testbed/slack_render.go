package testbed

import (
	"regexp"
	"strings"
)

// Render prints a message and its thread as people see it, for a terminal.
func (m SlackMessage) Render() string {
	var b strings.Builder
	b.WriteString(m.render())
	for _, reply := range m.Replies {
		b.WriteString(indent("  ↳ ", "    ", reply.render()))
	}
	return b.String()
}

func (m SlackMessage) render() string {
	var b strings.Builder
	switch {
	case m.Broadcast:
		b.WriteString("(also sent to the channel)\n")
	case m.Edits > 0:
		b.WriteString("(edited)\n")
	}
	for _, block := range m.Blocks {
		b.WriteString(block.render())
	}
	if len(m.Blocks) == 0 {
		b.WriteString(display(m.Text) + "\n")
	}
	return b.String()
}

func (b SlackBlock) render() string {
	var lines []string
	switch b.Type {
	case "header":
		return unescape(b.Text.Text) + "\n"
	case "divider":
		return "----\n"
	case "context":
		for _, element := range b.Elements {
			lines = append(lines, display(element.Text))
		}
		return strings.Join(lines, "  ") + "\n"
	}
	if b.Text != nil {
		lines = append(lines, display(b.Text.Text))
	}
	for _, field := range b.Fields {
		lines = append(lines, display(strings.Replace(field.Text, "\n", ": ", 1)))
	}
	return strings.Join(lines, "\n") + "\n"
}

var (
	slackBold = regexp.MustCompile(`(?m)(^|\s)\*([^*\n]+)\*`)
	slackDate = regexp.MustCompile(`<!date\^[^|>]*\|([^>]*)>`)
)

// display is what is seen of mrkdwn: bold without stars, code indented, dates as
// their fallback, and whatever Slack would act on as it is, to be noticed.
func display(mrkdwn string) string {
	var b strings.Builder
	for i, part := range strings.Split(mrkdwn, "```") {
		if i%2 == 1 {
			part = "\n" + strings.TrimSuffix(indent("  | ", "  | ", strings.Trim(part, "\n")), "\n")
			b.WriteString(unescape(part) + "\n")
			continue
		}
		part = slackDate.ReplaceAllString(slackBold.ReplaceAllString(strings.Trim(part, "\n"), "$1$2"), "$1")
		b.WriteString(unescape(part))
	}
	return strings.Trim(b.String(), "\n")
}

func unescape(text string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
}

func indent(first, rest, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return first + strings.Join(lines, "\n"+rest) + "\n"
}
