package config

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"rollback-agent/agent"
)

// composeFile reads the one file of a service that needs no list.
func composeFile() form[agent.Service] {
	return form[agent.Service]{"path", func(s *agent.Service, v value) error {
		if _, several := v.raw.([]any); several {
			return agent.WithHint(v.wrong("a path in quotes"), "write compose_files = […]")
		}
		file, err := v.path()
		if err == nil {
			s.Compose.Files = []string{file}
		}
		return err
	}}
}

func readStatus(s *agent.Service, v value) error {
	items, ok := v.raw.([]any)
	if !ok {
		items = []any{v.raw}
	}
	if len(items) == 0 {
		return agent.WithHint(errors.New("names no status code"), `for example "200-299"`)
	}
	ranges := make([]agent.StatusRange, 0, len(items))
	for _, item := range items {
		r, err := statusRange(item)
		if err != nil {
			return agent.WithHint(err, `for example 200, "200-299" or [200, "300-399"]`)
		}
		ranges = append(ranges, r)
	}
	s.Health.Status = ranges
	return nil
}

func statusRange(item any) (agent.StatusRange, error) {
	word := fmt.Sprint(item)
	from, to, isRange := strings.Cut(strings.ReplaceAll(word, "–", "-"), "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.Atoi(strings.TrimSpace(from))
	last, err2 := strconv.Atoi(strings.TrimSpace(to))
	if err1 != nil || err2 != nil || first < 100 || last > 599 || first > last {
		return agent.StatusRange{}, fmt.Errorf("%q is no status code from 100 to 599, and no range of them", word)
	}
	return agent.StatusRange{From: first, To: last}, nil
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// readHeaders never repeats a value in what it says: headers hold secrets.
func readHeaders(s *agent.Service, v value) error {
	entries, ok := v.raw.(map[string]any)
	if !ok {
		return agent.WithHint(v.wrong("a table of strings"), `for example { Host = "myapp.example.com" }`)
	}
	headers := make(map[string]agent.Secret, len(entries))
	for name, entry := range entries {
		text, ok := entry.(string)
		switch {
		case !headerName.MatchString(name):
			return fmt.Errorf("%q is not the name of a header", name)
		case !ok:
			return fmt.Errorf("%s: %w", name, value{raw: entry}.wrong("a string in quotes"))
		case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("%s: holds a control character", name)
		}
		headers[textproto.CanonicalMIMEHeaderKey(name)] = agent.Secret(text)
	}
	s.Health.Headers = headers
	return nil
}

var projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

func isProject(s string) error {
	if !projectName.MatchString(s) {
		return agent.WithHint(fmt.Errorf("%q is not a name that compose accepts", s), "lower-case letters, digits, - and _, beginning with a letter or digit")
	}
	return nil
}

func isDockerHost(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || rest == "" || (scheme != "unix" && scheme != "tcp" && scheme != "http" && scheme != "https") {
		return agent.WithHint(fmt.Errorf("%q is not the address of an engine", s), `for example "unix:///var/run/docker.sock" or "tcp://10.0.0.5:2376"`)
	}
	return nil
}
