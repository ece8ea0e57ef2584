package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"rollback-agent/agent"
)

// printJSON prints one value, indented.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// table prints rows under a header, in columns. Rows may be followed by notes, which
// do not take part in the columns.
type table struct {
	head []string
	rows [][]string
	note map[int][]string // below row i
}

func newTable(head ...string) *table { return &table{head: head, note: map[int][]string{}} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) remark(format string, args ...any) {
	last := len(t.rows) - 1
	t.note[last] = append(t.note[last], clean(fmt.Sprintf(format, args...)))
}

func (t *table) print(w io.Writer) error {
	var text strings.Builder
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			row[i] = clean(cell)
		}
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	i := -1
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
		for _, note := range t.note[i] {
			fmt.Fprintln(w, "    "+note)
		}
		i++
	}
	return nil
}

// clean keeps what containers print from moving the cursor, and from breaking a line.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || (r >= 0x7f && r < 0xa0):
			return -1
		}
		return r
	}, text)
}

// images names what a release runs: "web:1.4@1a2b3c4d5e6f", and how many more.
func images(artifacts []agent.Artifact) string {
	switch len(artifacts) {
	case 0:
		return "–"
	case 1:
		return artifacts[0].Short()
	}
	return fmt.Sprintf("%s +%d", artifacts[0].Short(), len(artifacts)-1)
}

// count is "1 service" or "2 services".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ago is how long something is past, in the largest unit.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "–"
	}
	d := now.Sub(t)
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int(d / unit.size); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		} else if n == 1 {
			return fmt.Sprintf("1 %s ago", unit.name)
		}
	}
	return "now"
}

// took is a duration with as many digits as matter.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// word is a value that may be empty.
func word[T ~string](value T) string {
	if value == "" {
		return "–"
	}
	return string(value)
}
