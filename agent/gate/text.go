package gate

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"unicode"
)

// explain says in a few words why there is no answer.
func explain(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return context.Cause(ctx).Error()
	}
	if missing, ok := errors.AsType[*net.DNSError](err); ok {
		return missing.Err + ": " + missing.Name
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was closed without an answer"
	}
	return err.Error()
}

// withText appends the first 120 characters of a text, as one line.
func withText(detail string, text []byte) string {
	line := []rune(oneLine(string(text)))
	if len(line) > maxShown {
		line = append(line[:maxShown], '…')
	}
	return withAll(detail, string(line))
}

// withAll appends a text as one line.
func withAll(detail, text string) string {
	if line := oneLine(text); line != "" {
		return detail + ": " + line
	}
	return detail
}

// oneLine replaces line breaks, and whatever could play tricks on a terminal.
func oneLine(text string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	return strings.Join(strings.Fields(clean), " ")
}
