package agent

import (
	"errors"
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with the config, or with what a service
// describes. Line is 1-based, 0 when unknown.
type Fault struct {
	Service string `json:"service,omitempty"` // "" is the top level
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"` // lower case, no stop
	Hint    string `json:"hint,omitempty"`
	Warning bool   `json:"warning,omitempty"` // deserves a word, stops nothing
}

// String returns "FILE:LINE: message".
func (f Fault) String() string {
	switch {
	case f.File == "":
		return f.Message
	case f.Line == 0:
		return fmt.Sprintf("%s: %s", f.File, f.Message)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
}

// Faults is every fault found in one pass. As an error it reads one fault a line.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// hinted is an error with what its reader can do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint attaches what the reader can do about err: one line, lower case, no
// stop.
func WithHint(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return hinted{err, hint}
}

// Hint returns the outermost hint of err, or "".
func Hint(err error) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	return ""
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error that a repetition cannot mend: an unknown manifest, a
// refused login, a model that the engine rejects.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent tells whether err was marked by [Permanent].
func IsPermanent(err error) bool {
	_, ok := errors.AsType[permanent](err)
	return ok
}

// ErrUnreachable is wrapped by the errors of targets and registries that could
// not be asked at all. Nothing is judged on it.
var ErrUnreachable = errors.New("not reachable")

// ErrPreflight is wrapped by the error of an Apply that refused before it
// touched anything. The hint holds the command to do it by hand.
var ErrPreflight = errors.New("cannot be applied safely")

// ErrNoSpace is wrapped by the error of a Fetch for which the disk has no room.
// Nothing was fetched.
var ErrNoSpace = errors.New("not enough disk space")

// ErrSourceMissing is wrapped by the error of a Fetch when what the release
// needs is neither here nor to be had.
var ErrSourceMissing = errors.New("source is gone")
