package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

// maxAnswer is more than Slack ever answers to what is asked here.
const maxAnswer = 16 << 20

// client sends requests, within a time limit, and guards against odd answers.
type client struct {
	http    *http.Client
	timeout time.Duration
}

// Do is what package slack-go asks of an HTTP client. It makes every 429 carry a
// Retry-After that slack-go can read.
func (c *client) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		seconds, err := strconv.Atoi(strings.TrimSpace(resp.Header.Get("Retry-After")))
		if err != nil {
			seconds = int(defaultWait / time.Second)
		}
		resp.Header.Set("Retry-After", strconv.Itoa(seconds))
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// client speaks to the Web API. Its debugging, which prints whole requests, is
// off and has nowhere to go.
func (s *Sender) client(l login) *slack.Client {
	return slack.New(l.token, slack.OptionAPIURL(l.api), slack.OptionHTTPClient(s.http),
		slack.OptionDebug(false), slack.OptionLog(log.New(io.Discard, "", 0)))
}

// postHook posts through the webhook: with blocks, and if Slack refuses their
// looks, once more as plain text.
func (s *Sender) postHook(ctx context.Context, l login, c content) error {
	err := l.explain("posting to the webhook", s.hook(ctx, l, c.text, c.blocks))
	if !refusedLooks(err) {
		return err
	}
	s.logPlain(err)
	return l.explain("posting plain text to the webhook", s.hook(ctx, l, c.plain, nil))
}

// hook makes one request. slack-go's own function for it drops the word with
// which Slack says what is wrong.
func (s *Sender) hook(ctx context.Context, l login, text string, blocks []slack.Block) error {
	message := slack.WebhookMessage{Text: text, Parse: "none", UnfurlLinks: new(false), UnfurlMedia: new(false)}
	if len(blocks) > 0 {
		message.Blocks = &slack.Blocks{BlockSet: blocks}
	}
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.hook.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("preparing the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	word, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return hookAnswer(resp, strings.TrimSpace(string(word)))
}

// hookAnswer puts the webhook's answer into the words of the Web API.
func hookAnswer(resp *http.Response, word string) error {
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // checked by Do
		return &slack.RateLimitedError{RetryAfter: time.Duration(seconds) * time.Second}
	case resp.StatusCode == http.StatusOK && word == "ok":
		return nil
	case resp.StatusCode != http.StatusOK && slackWord.MatchString(word):
		return slack.SlackErrorResponse{Err: word}
	case resp.StatusCode == http.StatusOK:
		return errNoSlack
	}
	return slack.StatusCodeError{Code: resp.StatusCode, Status: resp.Status}
}

// logPlain says that a message lost its looks.
func (s *Sender) logPlain(err error) {
	s.log.Warn("slack refused the blocks of a message, plain text goes instead", "error", err)
}
