package slack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
)

// Check proves the login without a message, or with a short one when post is
// set, and says in a sentence what it found. Its errors have hints.
func (s *Sender) Check(ctx context.Context, post bool) (string, error) {
	found, err := s.check(ctx, post)
	if refused, ok := errors.AsType[*notify.RefusedError](err); ok {
		err = agent.WithHint(err, refused.Hint)
	}
	return found, err
}

func (s *Sender) check(ctx context.Context, post bool) (string, error) {
	l, err := s.login()
	switch {
	case err != nil:
		return "", err
	case l.bot:
		b := &bot{Sender: s, login: l, api: s.client(l), w: writer{secrets: l.secrets}, m: testMessage()}
		return b.check(ctx, post)
	case post:
		return "webhook at " + l.hook.Host + ", test message posted", s.postHook(ctx, l, writer{}.notice(testMessage()))
	}
	return "webhook at " + l.hook.Host, s.knock(ctx, l)
}

// knock posts nothing through the webhook: an empty message is refused as such,
// but only where there is a webhook.
func (s *Sender) knock(ctx context.Context, l login) error {
	err := l.explain("asking the webhook", s.hook(ctx, l, "", nil))
	if refusedLooks(err) {
		return nil
	}
	return err
}

func (b *bot) check(ctx context.Context, post bool) (string, error) {
	who, err := b.api.AuthTestContext(ctx)
	if err == nil && who.UserID == "" {
		err = errNoSlack
	}
	if err != nil {
		return "", b.explain("asking Slack who the token is", err)
	}
	scopes := strings.FieldsFunc(who.Header.Get("X-Oauth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(scopes) > 0 && !slices.Contains(scopes, "chat:write") {
		return "", &notify.RefusedError{Reason: "missing_scope", Account: true, Hint: b.hint("missing_scope", "chat:write")}
	}
	channel, err := b.checkChannel(ctx, slices.Contains(scopes, "chat:write.public"))
	if err != nil {
		return "", err
	}
	found := fmt.Sprintf("bot %s in workspace %s, channel %s", who.User, who.Team, channel)
	if post {
		if _, _, err := b.post(ctx, b.channel, b.w.notice(b.m), ""); err != nil {
			return "", err
		}
		found += ", test message posted"
	}
	return found, nil
}

// checkChannel returns the channel's name, with what is not known of it. A bot
// may post to channels that it may not look at.
func (b *bot) checkChannel(ctx context.Context, anywhere bool) (string, error) {
	channel, err := b.look(ctx)
	refused, is := errors.AsType[*notify.RefusedError](err)
	switch {
	case is && (refused.Reason == "missing_scope" || anywhere && refused.Reason == "not_in_channel"):
		return b.channel + " (not looked up: " + refused.Reason + ")", nil
	case err != nil:
		return "", err
	case channel.IsArchived:
		return "", &notify.RefusedError{Reason: "is_archived", Account: true, Hint: b.hint("is_archived", "")}
	case !channel.IsMember && !anywhere && !channel.IsIM:
		return "", &notify.RefusedError{Reason: "not_in_channel", Account: true, Hint: b.hint("not_in_channel", "")}
	case channel.Name == "":
		return b.channel, nil
	}
	return "#" + channel.Name, nil
}

func (b *bot) look(ctx context.Context) (slack.Channel, error) {
	if !channelID.MatchString(b.channel) {
		return b.lookUp(ctx)
	}
	channel, err := b.api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: b.channel})
	if err != nil {
		return slack.Channel{}, b.explain("looking at the channel", err)
	}
	return *channel, nil
}

func testMessage() notify.Message {
	return notify.Message{
		Key: fmt.Sprintf("test/%d", time.Now().UnixNano()), Icon: notify.IconInfo, Severity: agent.SeverityInfo,
		Title: "test message", Why: "messages of rollback-agent arrive here", At: time.Now(),
	}
}
