package compose

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"rollback-agent/agent"
)

// maxQuoted is how much of an env file is searched for in an error about it.
const maxQuoted = 256 << 10

// withoutQuotes leaves out of an error what it quotes of env files: the parser
// repeats the line that it does not understand, and the lines are secrets.
func withoutQuotes(err error, files []string) error {
	if err == nil {
		return nil
	}
	var quotable []agent.Secret
	for _, file := range files {
		quotable = append(quotable, valuesOf(file)...)
	}
	return quietError{agent.Redact(err.Error(), quotable), err}
}

// quietError is an error in words that may leave the host.
type quietError struct {
	text string
	err  error
}

func (q quietError) Error() string { return q.text }
func (q quietError) Unwrap() error { return q.err }

// valuesOf lists everything in an env file that may be a value or a part of one,
// however broken the file is.
func valuesOf(path string) []agent.Secret {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxQuoted))
	if err != nil {
		return nil
	}
	var values []agent.Secret
	for line := range strings.Lines(string(text)) {
		value := strings.TrimSpace(line)
		if at := strings.IndexAny(value, "=:"); at >= 0 {
			value = value[at+1:]
		}
		values = append(values, agent.Secret(strings.Trim(value, "\"' \t")))
	}
	return values
}

// besidesModels leaves out compose files: what they say in the open may be quoted.
func besidesModels(files []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(file string) bool {
		return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(file))
	})
}

// envFilesOf lists the env files of every compose service.
func envFilesOf(project *types.Project) []string {
	var files []string
	for _, s := range project.AllServices() {
		for _, file := range s.EnvFiles {
			files = append(files, file.Path)
		}
	}
	return files
}
