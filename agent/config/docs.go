package config

import (
	"fmt"
	"strings"
)

// rootKeys are the keys of the main file's top level, sections included.
func rootKeys() []key[Config] {
	keys := topKeys()
	for _, s := range sections() {
		keys = append(keys, key[Config]{name: s.name, doc: s.doc, keys: s.keys})
	}
	return keys
}

// defaultsTOML is a config file that says what is true when nothing is said.
func defaultsTOML() string {
	b := new(strings.Builder)
	writeDefaults(b, "", topKeys())
	for _, s := range sections() {
		writeDefaults(b, s.name, s.keys)
	}
	writeDefaults(b, "defaults", serviceKeys())
	return b.String()
}

func writeDefaults[T any](b *strings.Builder, section string, keys []key[T]) {
	if section != "" {
		fmt.Fprintf(b, "[%s]\n", section)
	}
	for _, k := range keys {
		if k.def != "" {
			fmt.Fprintf(b, "%s = %s\n", k.name, k.def)
		}
	}
}

const exampleHead = `# Every key of the agent's config, with its default or, where it has none, an example.
# The least that works is one service:
#
#   [service.web]
#   compose_file = "/opt/myapp/docker-compose.yml"
#   health_url   = "http://localhost:3000/health"
#
# Durations are strings: "300ms", "90s", "2m", "1h30m". Relative paths are relative to the
# file that they stand in. This file and those it includes must belong to root and must not be
# writable by group or others. Check a file with: agent check --config FILE
`

// Example returns the annotated example file.
func Example() string {
	b := new(strings.Builder)
	b.WriteString(exampleHead)
	exampleKeys(b, topKeys())
	for _, s := range sections() {
		fmt.Fprintf(b, "\n\n# %s\n#[%s]\n", s.doc, s.name)
		exampleKeys(b, s.keys)
	}
	b.WriteString("\n\n# Any key of a service may stand here, too, and holds for every service that does not set it itself.\n#[defaults]\n")
	b.WriteString("\n\n# One section for each service: the unit that is deployed and rolled back as a whole.\n#[service.web]\n")
	exampleKeys(b, serviceKeys())
	return b.String()
}

func exampleKeys[T any](b *strings.Builder, keys []key[T]) {
	for _, k := range keys {
		b.WriteString("\n")
		doc := k.doc
		if k.absent != "" {
			doc += " Without it: " + k.absent + "."
		}
		for _, line := range wrap(doc, 96) {
			fmt.Fprintf(b, "# %s\n", line)
		}
		fmt.Fprintf(b, "#%s = %s\n", k.name, k.shown())
		if k.def != "" && k.example != "" {
			fmt.Fprintf(b, "#   for example %s\n", k.example)
		}
	}
}

// shown is what the example file sets the key to.
func (k key[T]) shown() string {
	if k.def != "" {
		return k.def
	}
	return k.example
}

const referenceHead = `<!-- Generated from the tables of keys in agent/config: go test ./agent/config -update -->
# Configuration

The agent reads ` + "`/etc/rollback-agent/config.toml`" + ` and the files it includes. The least that works:

` + "```toml" + `
[service.web]
compose_file = "/opt/myapp/docker-compose.yml"
health_url   = "http://localhost:3000/health"
` + "```" + `

* Durations are strings: ` + "`\"300ms\"`, `\"90s\"`, `\"2m\"`, `\"1h30m\"`" + `.
* Relative paths are relative to the file that they stand in.
* ` + "`[defaults]`" + ` takes any key of a service. A value in the service's own section replaces it as a whole.
* Unknown keys and sections are errors. All faults are found at once: ` + "`agent check`" + `.
* A fault inside one service disables that service only. A fault anywhere else keeps the last accepted config.
* The files must belong to root and must not be writable by group or others; so must the directories that hold them.
* Compose and env files, ` + "`.env`" + ` and all that compose files include, extend or name as env file among them, may
  belong to, and be writable by, root, the members of group ` + "`docker`" + ` and the users of ` + "`trust_owner`" + `, and nobody
  else; so may their directories. Write access to them is root on this host.
* An agent that does not run as root also trusts the user that it runs as.
`

// Reference returns the page docs/config.md.
func Reference() string {
	b := new(strings.Builder)
	b.WriteString(referenceHead)
	referenceKeys(b, "Top level", "Above the first section.", topKeys())
	for _, s := range sections() {
		referenceKeys(b, "`["+s.name+"]`", s.doc, s.keys)
	}
	referenceKeys(b, "`[service.NAME]` and `[defaults]`",
		"NAME has up to 63 letters, digits, `-`, `_` and `.`. Two services must not deploy the same compose service of the same file.", serviceKeys())
	return b.String()
}

func referenceKeys[T any](b *strings.Builder, title, doc string, keys []key[T]) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n", title, doc)
	for _, k := range keys {
		referenceRow(b, "", k)
	}
}

func referenceRow[T any](b *strings.Builder, table string, k key[T]) {
	form, def, doc := k.form.name, k.absent, k.doc
	if k.keys != nil {
		form = strings.TrimPrefix(form+" or table", " or ")
	}
	switch {
	case k.def != "":
		def = "`" + k.def + "`"
	case def == "":
		def = "–"
	}
	if k.example != "" {
		doc += " Example: `" + k.example + "`."
	}
	fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", table, k.name, form, def, strings.ReplaceAll(doc, "|", `\|`))
	for _, inner := range k.keys {
		referenceRow(b, k.name+".", inner)
	}
}

// wrap breaks a text into lines of at most width bytes, at spaces.
func wrap(text string, width int) []string {
	lines, line := []string(nil), ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
