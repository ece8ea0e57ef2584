package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"rollback-agent/agent"
)

// maxFile is the largest file that is read, in bytes.
const maxFile = 1 << 20

// document is one parsed file.
type document struct {
	path string // absolute
	meta toml.MetaData
	root table
}

// table is one table of a document, undecoded.
type table struct {
	doc  *document
	name string // as written in its header; "" is the root
	line int
	keys map[string]toml.Primitive
}

// parse returns the document, or the one fault that keeps it from being one.
func parse(path string, data []byte) (*document, *agent.Fault) {
	doc := &document{path: path}
	doc.root = table{doc: doc, line: 1}
	meta, err := toml.Decode(string(data), &doc.root.keys)
	if err != nil {
		return nil, syntaxFault(path, string(data), err)
	}
	doc.meta = meta
	return doc, nil
}

func syntaxFault(path, text string, err error) *agent.Fault {
	fault := &agent.Fault{File: path, Message: err.Error(), Hint: "strings are quoted, lists are in [ ], a table begins with [name] on a line of its own"}
	parseErr, ok := errors.AsType[toml.ParseError](err)
	if !ok {
		return fault
	}
	// The parser's own line is one too many where it stumbles over a line's end.
	fault.Line = strings.Count(text[:max(0, min(parseErr.Position.Start, len(text)))], "\n") + 1
	fault.Message = "this is not TOML: " + lowerFirst(parseErr.Message)
	if strings.Contains(parseErr.Message, "already been defined") {
		fault.Message, fault.Hint = lowerFirst(parseErr.Message), "keep one of the two"
	}
	if usage, _, _ := strings.Cut(strings.TrimSpace(parseErr.Usage), "\n"); usage != "" {
		fault.Hint = lowerFirst(strings.TrimRight(usage, ".:"))
	}
	return fault
}

// open reads and parses a file.
func open(path string) (*document, *agent.Fault) {
	data, err := read(path)
	if err != nil {
		return nil, &agent.Fault{File: path, Message: "cannot be read: " + reason(err), Hint: agent.Hint(err)}
	}
	return parse(path, data)
}

// read refuses what is no regular file: a pipe would block for ever.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, agent.WithHint(err, "make it, or name another one with --config")
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return os.ReadFile(path)
}

// reason strips the operation and the path from an error of package os.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// dir is what relative paths of the document are relative to.
func (d *document) dir() string { return filepath.Dir(d.path) }

// names returns the keys of the table in the order of their lines.
func (t table) names() []string {
	names := slices.Sorted(maps.Keys(t.keys))
	slices.SortStableFunc(names, func(a, b string) int { return t.at(a) - t.at(b) })
	return names
}

// stumble fails to be decoded, because only errors carry a position.
type stumble struct{}

func (*stumble) UnmarshalTOML(any) error { return errors.New("positioned") }

// at returns the line of a key; of a table without a header of its own, that of
// its first key.
func (t table) at(name string) int {
	err := t.doc.meta.PrimitiveDecode(t.keys[name], &stumble{})
	if parseErr, ok := errors.AsType[toml.ParseError](err); ok && parseErr.Position.Line > 0 {
		return parseErr.Position.Line
	}
	line := t.line
	if sub, ok := t.sub(name); ok {
		for i, inner := range sub.names() {
			if at := sub.at(inner); i == 0 || at < line {
				line = at
			}
		}
	}
	return line
}

// sub returns the table under a key; ok is false when it is none.
func (t table) sub(name string) (table, bool) {
	sub := table{doc: t.doc, name: name, line: t.line}
	if t.name != "" {
		sub.name = t.name + "." + name
	}
	if t.doc.meta.PrimitiveDecode(t.keys[name], &sub.keys) != nil || sub.keys == nil {
		return table{}, false
	}
	return sub, true
}

// value decodes what stands under a key as TOML means it.
func (t table) value(name string) value {
	v := value{dir: t.doc.dir()}
	if err := t.doc.meta.PrimitiveDecode(t.keys[name], &v.raw); err != nil {
		v.raw = nil // every parsed value fits an empty interface
	}
	return v
}

func lowerFirst(s string) string {
	if len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' {
		return s // an abbreviation
	}
	return strings.ToLower(s[:min(1, len(s))]) + s[min(1, len(s)):]
}
