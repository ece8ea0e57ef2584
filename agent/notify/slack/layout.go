package slack

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
)

// How long the parts of a message may be, in UTF-16 units after escaping. Slack
// takes 50 blocks, 150 in a header, 10 fields of 2000, 3000 in a section, and
// about 13,200 in all: each sum below stays under that.
const (
	maxHeader    = 150
	maxFacts     = 10
	maxFactName  = 60
	maxFactValue = 240
	maxWhy       = 1500
	maxHint      = 800
	maxCommands  = 1200
	maxContext   = 200
	maxSection   = 2900 // leaves room for a title and the marks of a code block
	maxLine      = 400
	maxText      = 1000 // beside the blocks, for notifications
	maxPlain     = 3900 // instead of the blocks; an edit takes 4000
	maxTails     = 6    // instances whose logs are shown
	shownLines   = 3    // of the evidence, where the rest is in the thread
)

// room is what the parts may take that are details.
type room struct{ evidence, logs, timeline int }

func hookRoom() room   { return room{1500, 2600, 900} }
func threadRoom() room { return room{maxSection, 6000, 2400} }

// content is one message for Slack: blocks, the text for notifications, and the
// text that stands for both when Slack does not take the blocks.
type content struct {
	blocks []slack.Block
	text   string
	plain  string
}

// writer lays messages out. Secrets of its own never leave, whoever wrote them
// into a message.
type writer struct {
	secrets  []agent.Secret
	logLines int
}

// whole is everything in one message, for a medium without threads.
func (w writer) whole(m notify.Message) content {
	blocks := slices.Concat(w.head(m), section(w.list(m.Evidence, hookRoom().evidence)), w.advice(m),
		w.logs(m.Logs, hookRoom().logs), section(w.timeline(m.Timeline, hookRoom().timeline)), w.foot(m))
	return content{blocks: blocks, text: w.text(m), plain: w.plain(m)}
}

// short is what everybody should read.
func (w writer) short(m notify.Message) content {
	first := m.Evidence[:min(len(m.Evidence), shownLines)]
	blocks := slices.Concat(w.head(m), section(w.list(first, hookRoom().evidence)), w.advice(m), w.foot(m))
	return content{blocks: blocks, text: w.text(m), plain: w.plain(m)}
}

// details is what only those read who look closer. Without blocks there are
// none. How far an open deployment is, the message itself says.
func (w writer) details(m notify.Message) content {
	space := threadRoom()
	rest := m.Evidence[min(len(m.Evidence), shownLines):]
	blocks := slices.Concat(section(w.list(rest, space.evidence)), w.logs(m.Logs, space.logs))
	if len(blocks) == 0 && m.Open {
		return content{}
	}
	if blocks = append(blocks, section(w.timeline(m.Timeline, space.timeline))...); len(blocks) == 0 {
		return content{}
	}
	name := fmt.Sprintf("*%s %s*", icon(m), w.fit(title(m), maxHeader))
	return content{
		blocks: slices.Concat(section(name), blocks), text: w.text(m),
		plain: w.text(m) + "\n" + w.list(m.Timeline, maxPlain-maxText),
	}
}

// notice is one line for those who do not see that a message was edited.
func (w writer) notice(m notify.Message) content {
	text := w.text(m)
	return content{blocks: section(text), text: text, plain: text}
}

// text is what a phone shows.
func (w writer) text(m notify.Message) string {
	text := icon(m) + " " + w.fit(title(m), maxHeader)
	if why := w.fit(oneLine(m.Why), maxText-2*maxHeader); why != "" {
		text += ": " + why
	}
	return text
}

// plain says the same as the blocks, with nothing in it that could be refused.
func (w writer) plain(m notify.Message) string {
	lines := []string{w.text(m)}
	for _, fact := range m.Facts[:min(len(m.Facts), maxFacts)] {
		lines = append(lines, w.fit(oneLine(fact.Name), maxFactName)+": "+w.fit(oneLine(fact.Value), maxFactValue))
	}
	for _, line := range m.Evidence[:min(len(m.Evidence), shownLines)] {
		lines = append(lines, "• "+w.fit(oneLine(line), maxLine))
	}
	lines = append(lines, w.fit(oneLine(m.Hint), maxHint), w.commands(m.Commands))
	return join(lines, maxPlain, func(line string) string { return line })
}

func (w writer) head(m notify.Message) []slack.Block {
	name := icon(m) + " " + w.fit(title(m), maxHeader-4)
	header := slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, name, true, false))
	blocks := []slack.Block{header}
	if fields := w.fields(m.Facts); len(fields) > 0 {
		blocks = append(blocks, slack.NewSectionBlock(nil, fields, nil))
	}
	return slices.Concat(blocks, section(w.fit(strings.TrimSpace(m.Why), maxWhy)))
}

// fields are facts, side by side. A longer list loses its end.
func (w writer) fields(facts []notify.Fact) []*slack.TextBlockObject {
	var fields []*slack.TextBlockObject
	for i, fact := range facts {
		if len(fields) == maxFacts-1 && len(facts)-i > 1 {
			return append(fields, mrkdwn(fmt.Sprintf("%s %d more", cutMark, len(facts)-i)))
		}
		name, value := w.fit(oneLine(fact.Name), maxFactName), w.fit(oneLine(fact.Value), maxFactValue)
		if name == "" && value == "" {
			continue
		}
		fields = append(fields, mrkdwn(fmt.Sprintf("*%s*\n%s", cmp.Or(name, "–"), cmp.Or(value, "–"))))
	}
	return fields
}

// list has a bullet for each line.
func (w writer) list(lines []string, limit int) string { return join(lines, limit, w.bullet) }

func (w writer) timeline(lines []string, limit int) string {
	if text := tail(lines, limit, w.bullet); text != "" {
		return "*Timeline*\n" + text
	}
	return ""
}

func (w writer) bullet(line string) string {
	if line = w.fit(oneLine(line), maxLine); line != "" {
		return "• " + line
	}
	return ""
}

// logs are code blocks, one for each instance, that share the space.
func (w writer) logs(tails []notify.Tail, limit int) []slack.Block {
	if w.logLines <= 0 {
		return nil
	}
	tails = slices.DeleteFunc(slices.Clone(tails), func(t notify.Tail) bool { return len(t.Lines) == 0 })
	left := len(tails) - maxTails
	tails = tails[:min(len(tails), maxTails)]
	var blocks []slack.Block
	for _, t := range tails {
		blocks = append(blocks, section(w.logOf(t, min(maxSection, limit/len(tails))))...)
	}
	if left > 0 {
		blocks = append(blocks, section(fmt.Sprintf("%s logs of %d more", cutMark, left))...)
	}
	return blocks
}

func (w writer) logOf(t notify.Tail, limit int) string {
	name := fmt.Sprintf("*Log of %s*\n", w.fit(oneLine(t.Instance), maxFactName))
	lines := t.Lines[max(0, len(t.Lines)-w.logLines):]
	return name + code(tail(lines, limit-units(name)-8, func(line string) string {
		return cmp.Or(w.fit(logLine(line), min(maxLine, limit/2-40)), " ") // a line with nothing in it is one, too
	}))
}

// logLine keeps what is in front: how far a line is indented says something.
func logLine(text string) string {
	kept := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	return kept + oneLine(text)
}

// advice is what to do now.
func (w writer) advice(m notify.Message) []slack.Block {
	var text string
	if hint := w.fit(strings.TrimSpace(m.Hint), maxHint); hint != "" {
		text = "*What to do*\n" + hint + "\n"
	}
	if commands := w.commands(m.Commands); commands != "" {
		text += code(commands)
	}
	return section(text)
}

// commands are whole or not there at all: half a command may do something else.
func (w writer) commands(commands []string) string {
	var lines []string
	n := 0
	for _, command := range commands {
		command = w.fit(strings.TrimSpace(command), 1<<20)
		if n += units(command) + 1; n > maxCommands-40 {
			return strings.Join(append(lines, "# "+cutMark), "\n")
		}
		if command != "" {
			lines = append(lines, command)
		}
	}
	return strings.Join(lines, "\n")
}

func (w writer) foot(m notify.Message) []slack.Block {
	parts := slices.DeleteFunc([]string{w.fit(oneLine(m.Host), maxContext), date(m.At)}, func(s string) bool { return s == "" })
	if len(parts) == 0 {
		return nil
	}
	return []slack.Block{slack.NewContextBlock("", mrkdwn(strings.Join(parts, " · ")))}
}

// fit takes secrets out before it cuts: half a secret is not recognised.
func (w writer) fit(text string, limit int) string { return fit(agent.Redact(text, w.secrets), limit) }

// section is no block when there is nothing to say.
func section(text string) []slack.Block {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return []slack.Block{slack.NewSectionBlock(mrkdwn(text), nil, nil)}
}

// mrkdwn is verbatim: Slack makes no links of what looks like one.
func mrkdwn(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, text, false, true)
}

func code(text string) string { return "```\n" + text + "\n```" }
