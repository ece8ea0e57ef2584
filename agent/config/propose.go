package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"rollback-agent/agent"
)

// Proposal is a config that was not written by a human yet.
type Proposal struct {
	Text     string       // TOML
	Services []string     // the sections in it
	Notes    []string     // what a human should know before using it
	Faults   agent.Faults // what could not be proposed
}

// Section is a [service.NAME] to be written: what is set in it is written, and
// nothing else.
type Section struct {
	Service agent.Service
	// Above are comments before the header, Beside between files and health, Below
	// after the last key.
	Above, Beside, Below []string
}

// Others is a key that is written as a comment: for a human to choose.
func Others(key, value, why string) string {
	return fmt.Sprintf("%s = %s  # %s", key, Quote(value), why)
}

const proposalHead = `# Proposed by "agent init". Read it, mend it, then ask: agent check --probe
# Everything that is not said has a default: config.example.toml explains every key.
`

const proposalTail = `
# Who hears of a rollback? Make an incoming webhook in Slack, put its URL alone into a file
# that only root can read, and take the # away. "agent check --send-test" sends a message.
# [slack]
# webhook_url_file = "/etc/rollback-agent/slack-webhook"
# bot_token_file = "/etc/rollback-agent/slack-bot-token"  # instead of a webhook: one message for each deployment, kept up to date
# channel = "C0123456789"  # with bot_token_file only: a webhook has its channel
# log_lines = 10
`

// Write returns the sections as a config file.
func Write(sections []Section) string {
	b := new(strings.Builder)
	b.WriteString(proposalHead)
	for _, s := range sections {
		b.WriteString("\n")
		s.write(b)
	}
	b.WriteString(proposalTail)
	return b.String()
}

func (s Section) write(b *strings.Builder) {
	comment(b, s.Above)
	fmt.Fprintf(b, "[service.%s]\n", quoteKey(s.Service.Name))
	c := s.Service.Compose
	if len(c.Files) == 1 {
		fmt.Fprintf(b, "compose_file = %s\n", Quote(c.Files[0]))
	} else {
		writeList(b, "compose_files", c.Files)
	}
	writeText(b, "project", c.Project)
	writeText(b, "project_directory", c.ProjectDirectory)
	writeList(b, "env_files", c.EnvFiles)
	writeList(b, "profiles", c.Profiles)
	writeList(b, "compose_services", c.Services)
	writeText(b, "docker_host", c.DockerHost)
	comment(b, s.Beside)
	writeText(b, "health_url", s.Service.Health.URL)
	if s.Service.Health.TLS.SkipVerify {
		b.WriteString("health_tls = { skip_verify = true }\n")
	}
	writeText(b, "health_tcp", s.Service.Health.TCP)
	comment(b, s.Below)
}

func writeText(b *strings.Builder, key, value string) {
	if value != "" {
		fmt.Fprintf(b, "%s = %s\n", key, Quote(value))
	}
}

func writeList(b *strings.Builder, key string, values []string) {
	if len(values) == 0 {
		return
	}
	quotes := make([]string, len(values))
	for i, value := range values {
		quotes[i] = Quote(value)
	}
	fmt.Fprintf(b, "%s = [%s]\n", key, strings.Join(quotes, ", "))
}

// comment keeps what others wrote from ending the comment that it stands in.
func comment(b *strings.Builder, lines []string) {
	for _, line := range lines {
		clean := strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
				return '?'
			}
			return r
		}, line)
		b.WriteString(strings.TrimRight("# "+clean, " ") + "\n")
	}
}

// Quote returns a TOML string. What is no UTF-8 cannot be written as TOML: see
// [Writable].
func Quote(text string) string {
	b := new(strings.Builder)
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Writable tells whether TOML can hold a text.
func Writable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

func quoteKey(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" && name != "" {
		return name
	}
	return Quote(name)
}
