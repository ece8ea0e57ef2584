package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
)

const (
	defaultWait = 30 * time.Second // when Slack does not say how long
	longestWait = time.Hour        // when it says nonsense
)

// slackWord is the shape of Slack's names for what is wrong.
var slackWord = regexp.MustCompile(`^[a-z][a-z0-9_]{0,79}$`)

var errNoSlack = errors.New("the answer is not one that Slack gives")

// goneError says that a message cannot be edited: it is to be posted anew.
type goneError struct{ code string }

func (e *goneError) Error() string { return e.code }

// explain turns the errors of a request into those of package notify. What is
// left has no secret in it, and keeps nothing inside that has one.
func (l login) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if limited, ok := errors.AsType[*slack.RateLimitedError](err); ok {
		return busy(limited.RetryAfter)
	}
	if answer, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return l.explainWord(doing, answer)
	}
	if status, ok := errors.AsType[slack.StatusCodeError](err); ok {
		return fmt.Errorf("%s: answered HTTP status %d", doing, status.Code)
	}
	text := agent.Redact(doing+": "+cause(err), l.secrets)
	for _, sentinel := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, sentinel) {
			return &hidden{text, sentinel}
		}
	}
	return errors.New(text)
}

// hidden is an error whose own text was replaced.
type hidden struct {
	text string
	is   error
}

func (h *hidden) Error() string { return h.text }
func (h *hidden) Unwrap() error { return h.is }

// cause is what went wrong on the way, without the URL, which is a secret.
func cause(err error) string {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer in time"
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return errNoSlack.Error()
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return err.Error()
}

func busy(after time.Duration) error {
	return &notify.BusyError{After: min(max(after, time.Second), longestWait)}
}

// explainWord sorts what Slack answers by who can mend it. A word that nobody
// knows is worth a repetition.
func (l login) explainWord(doing string, answer slack.SlackErrorResponse) error {
	word := answer.Err
	if !slackWord.MatchString(word) {
		return fmt.Errorf("%s: %w", doing, errNoSlack)
	}
	switch kinds[word] {
	case isBusy:
		return busy(defaultWait)
	case isGone:
		return &goneError{word}
	case isMessage:
		return &notify.RefusedError{Reason: word, Hint: strings.Join(answer.ResponseMetadata.Messages, "; ")}
	case isLogin, isScope, isChannel, isOutside, isForbidden, isHook:
		return &notify.RefusedError{Reason: word, Account: true, Hint: l.hint(word, answer.Needed)}
	}
	return fmt.Errorf("%s: answered %s", doing, word)
}

// refusedLooks tells whether the message may be taken in a simpler form.
func refusedLooks(err error) bool {
	refused, ok := errors.AsType[*notify.RefusedError](err)
	return ok && !refused.Account
}

func refused(err error) bool {
	_, ok := errors.AsType[*notify.RefusedError](err)
	return ok
}

// isMetadata tells whether what is refused is what the message is found by.
func isMetadata(err error) bool {
	r, ok := errors.AsType[*notify.RefusedError](err)
	return ok && strings.Contains(r.Reason, "metadata")
}
