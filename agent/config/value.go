package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollback-agent/agent"
)

// value is what stands under a key: a string, int64, float64, bool, []any,
// map[string]any or a date.
type value struct {
	raw any
	dir string // of the file that it stands in
}

// form is how a value is read: its name for the reader of the docs, and the
// function. An error says what is wrong with the value; the key and the line
// are added by the caller.
type form[T any] struct {
	name string
	read func(*T, value) error
}

func text[T any](field func(*T) *string, checks ...func(string) error) form[T] {
	return form[T]{"string", func(t *T, v value) error {
		s, err := v.text()
		for _, check := range checks {
			if err == nil {
				err = check(s)
			}
		}
		if err == nil {
			*field(t) = s
		}
		return err
	}}
}

func path[T any](field func(*T) *string) form[T] {
	return form[T]{"path", func(t *T, v value) error {
		s, err := v.path()
		if err == nil {
			*field(t) = s
		}
		return err
	}}
}

func oneOf[T any, S ~string](field func(*T) *S, words ...string) form[T] {
	return form[T]{quoted(words), func(t *T, v value) error {
		s, err := v.text()
		if err != nil {
			return err
		}
		if slices.Contains(words, s) {
			*field(t) = S(s)
			return nil
		}
		hint := suggest(s, words)
		if hint == "" {
			hint = "use " + quoted(words)
		}
		return agent.WithHint(fmt.Errorf("unknown value %q", s), hint)
	}}
}

func number[T any](field func(*T) *int, least int) form[T] {
	return form[T]{"number", func(t *T, v value) error {
		n, ok := v.raw.(int64)
		if !ok {
			return v.wrong("a whole number")
		}
		if n < int64(least) || n > 1_000_000 {
			return agent.WithHint(fmt.Errorf("%d is out of range", n), fmt.Sprintf("from %d to 1000000", least))
		}
		*field(t) = int(n)
		return nil
	}}
}

func boolean[T any](field func(*T) *bool) form[T] {
	return form[T]{"true or false", func(t *T, v value) error {
		b, ok := v.raw.(bool)
		if !ok {
			return v.wrong("true or false, without quotes")
		}
		*field(t) = b
		return nil
	}}
}

// longest is the longest duration that makes sense.
const longest = 366 * 24 * time.Hour

func duration[T any](field func(*T) *time.Duration, least time.Duration) form[T] {
	return form[T]{"duration", func(t *T, v value) error {
		d, err := v.duration()
		switch {
		case err != nil:
			return err
		case d < least:
			return agent.WithHint(fmt.Errorf("%q is too short", v.raw), "at least "+short(least))
		case d > longest:
			return agent.WithHint(fmt.Errorf("%q is too long", v.raw), "at most a year, 8784h")
		}
		*field(t) = d
		return nil
	}}
}

func list[T any](field func(*T) *[]string) form[T] {
	return form[T]{"list of strings", func(t *T, v value) error {
		words, err := v.list()
		if err == nil {
			*field(t) = words
		}
		return err
	}}
}

func paths[T any](field func(*T) *[]string) form[T] {
	return form[T]{"list of paths", func(t *T, v value) error {
		words, err := v.list()
		for i := range words {
			words[i] = v.resolve(words[i])
		}
		if err == nil {
			*field(t) = words
		}
		return err
	}}
}

func argv[T any](field func(*T) *[]string) form[T] {
	return form[T]{"list of strings", func(t *T, v value) error {
		if s, ok := v.raw.(string); ok {
			return agent.WithHint(fmt.Errorf("expected a list, found %q", s),
				fmt.Sprintf("no shell is used: write [%s]; where a shell is wanted, [\"sh\", \"-c\", \"…\"]", quotedWords(s)))
		}
		words, err := v.strings(value.argument)
		if err == nil {
			*field(t) = words
		}
		return err
	}}
}

func (v value) text() (string, error) {
	s, ok := v.raw.(string)
	switch {
	case !ok:
		return "", v.wrong("a string in quotes")
	case strings.TrimSpace(s) == "":
		return "", agent.WithHint(errors.New("is empty"), "remove the line to have the default")
	case strings.ContainsRune(s, 0):
		return "", errors.New("holds a NUL byte")
	}
	return s, nil
}

func (v value) path() (string, error) {
	s, err := v.text()
	if err != nil {
		return "", err
	}
	return v.resolve(s), nil
}

func (v value) resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(v.dir, path)
}

func (v value) duration() (time.Duration, error) {
	s, ok := v.raw.(string)
	if n, bare := v.raw.(int64); bare {
		return 0, agent.WithHint(fmt.Errorf("%d has no unit", n), fmt.Sprintf("write \"%ds\" or \"%dm\"", n, n))
	}
	if !ok {
		return 0, v.wrong("a duration in quotes")
	}
	d, err := time.ParseDuration(s)
	if err == nil {
		return d, nil
	}
	hint := `write a number and a unit: "300ms", "90s", "2m", "1h30m"`
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		if n, err := strconv.ParseFloat(days, 64); err == nil {
			hint = fmt.Sprintf("days are no unit: write \"%gh\"", n*24)
		}
	}
	return 0, agent.WithHint(fmt.Errorf("%q is not a duration", s), hint)
}

// argument is a string that may be empty.
func (v value) argument() (string, error) {
	if v.raw == "" {
		return "", nil
	}
	return v.text()
}

func (v value) list() ([]string, error) { return v.strings(value.text) }

func (v value) strings(each func(value) (string, error)) ([]string, error) {
	items, ok := v.raw.([]any)
	if s, single := v.raw.(string); single {
		return nil, agent.WithHint(fmt.Errorf("expected a list, found %q", s), fmt.Sprintf("write [%q]", s))
	}
	if !ok {
		return nil, v.wrong("a list of strings")
	}
	words := make([]string, 0, len(items))
	for _, item := range items {
		word, err := each(value{raw: item})
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", len(words)+1, err)
		}
		words = append(words, word)
	}
	return words, nil
}

// wrong says that the value has another type than it should. It never prints
// the value itself, which may be secret.
func (v value) wrong(want string) error {
	found := "a date"
	switch v.raw.(type) {
	case string:
		found = "a string"
	case int64, float64:
		found = "a number"
	case bool:
		found = "true or false"
	case []any:
		found = "a list"
	case map[string]any:
		found = "a table"
	case []map[string]any:
		found = "a list of tables"
	}
	return fmt.Errorf("expected %s, found %s", want, found)
}

func isHTTP(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return agent.WithHint(errors.New("not an HTTP URL"), `for example "http://localhost:3000/health"`)
	case u.User != nil:
		return agent.WithHint(errors.New("holds a user name or password, which would be printed"), `use health_headers = { Authorization = "Basic …" }`)
	}
	return nil
}

func isAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return agent.WithHint(fmt.Errorf("%q is not HOST:PORT", s), `for example "localhost:5432"`)
	}
	return nil
}

func quotedWords(command string) string {
	words := strings.Fields(command)
	for i := range words {
		words[i] = strconv.Quote(words[i])
	}
	return strings.Join(words, ", ")
}

// short prints a duration without its zero units: "2m", not "2m0s".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
