package config

import (
	"fmt"

	"rollback-agent/agent"
)

// key is one key of the config. It is the only place that knows the key's name,
// default, meaning and reader: parsing, the example file and the docs follow.
type key[T any] struct {
	name    string
	def     string // what it is when absent, as TOML
	absent  string // the same in words, where TOML cannot say it
	example string // as TOML; "" takes def
	doc     string
	form    form[T]
	keys    []key[T] // of a table; a key with form and keys may be either
	clear   func(*T) // undoes an earlier value that would shine through
}

// section is a part of the file with keys of its own.
type section[T any] struct {
	name string // its header; "" is the top of the file
	doc  string
	keys []key[T]
}

// place is where something stands.
type place struct {
	file string
	line int
}

// places are the lines of the keys that were set, by name.
type places map[string]place

// faults collects what is wrong with one service, or with the top level.
type faults struct {
	service string
	list    agent.Faults
}

func (f *faults) add(at place, message, hint string) {
	f.list = append(f.list, agent.Fault{Service: f.service, File: at.file, Line: at.line, Message: message, Hint: hint})
}

func (f *faults) warn(at place, message, hint string) {
	f.list = append(f.list, agent.Fault{Service: f.service, File: at.file, Line: at.line, Message: message, Hint: hint, Warning: true})
}

// fill reads every key of the table that the list knows, and calls the rest
// unknown. It returns where the keys stand.
func fill[T any](keys []key[T], from table, into *T, out *faults) places {
	found := places{}
	for _, name := range from.names() {
		at := place{from.doc.path, from.at(name)}
		k, ok := lookup(keys, name)
		if !ok {
			out.add(at, unknown(name, from), hintFor(name, from.name, namesOf(keys)))
			continue
		}
		found[name] = at
		k.fill(from, into, at, out)
	}
	return found
}

func (k key[T]) fill(from table, into *T, at place, out *faults) {
	if k.clear != nil {
		k.clear(into)
	}
	if inner, ok := from.sub(k.name); ok && k.keys != nil {
		fill(k.keys, inner, into, out)
		return
	}
	v := from.value(k.name)
	err := error(nil)
	if k.form.read == nil {
		err = v.wrong("a table")
	} else {
		err = k.form.read(into, v)
	}
	if err != nil {
		out.add(at, fmt.Sprintf("%s: %s", k.name, err), agent.Hint(err))
	}
}

func lookup[T any](keys []key[T], name string) (key[T], bool) {
	for _, k := range keys {
		if k.name == name {
			return k, true
		}
	}
	return key[T]{}, false
}

func namesOf[T any](keys []key[T]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

func unknown(name string, in table) string {
	_, isSection := in.sub(name)
	switch {
	case in.name == "" && isSection:
		return fmt.Sprintf("unknown section [%s]", name)
	case in.name == "":
		return fmt.Sprintf("unknown key %q", name)
	}
	return fmt.Sprintf("unknown key %q in [%s]", name, in.name)
}

// hintFor says where a key of another section belongs, else which key is near.
func hintFor(name, section string, near []string) string {
	for _, home := range homes() {
		if home.keys[name] && home.header != "["+section+"]" {
			return fmt.Sprintf("%s belongs %s", name, home.where)
		}
	}
	if section == "" {
		near = append(near, "defaults", "service")
	}
	if hint := suggest(name, near); hint != "" {
		return hint
	}
	return "config.example.toml explains every key"
}

// home is where keys of one section belong.
type home struct {
	header, where string
	keys          map[string]bool
}

func homes() []home {
	set := func(names []string) map[string]bool {
		keys := map[string]bool{}
		for _, name := range names {
			keys[name] = true
		}
		return keys
	}
	list := []home{
		{"[defaults]", "in [service.NAME] or [defaults]", set(namesOf(serviceKeys()))},
		{"[]", "at the top, above the first [section]", set(namesOf(topKeys()))},
	}
	for _, s := range sections() {
		list = append(list, home{"[" + s.name + "]", "in [" + s.name + "]", set(namesOf(s.keys))})
	}
	return list
}
