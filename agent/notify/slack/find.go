package slack

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"rollback-agent/agent/notify"
)

const (
	findPages  = 5
	findLimit  = 200            // messages of a page
	findWithin = 48 * time.Hour // before the time of the message
)

// channelID is the shape of the names that every method takes.
var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{8,}$`)

// findMain looks for a message whose posting nobody confirmed, so that it is not
// posted twice. Where the bot may not read, it is posted again: twice is better
// than never.
func (b *bot) findMain(ctx context.Context) (ref, error) {
	channel, err := b.resolve(ctx)
	if err != nil {
		return ref{}, b.orBlind(err)
	}
	at := b.m.At
	if at.IsZero() {
		at = time.Now()
	}
	params := slack.GetConversationHistoryParameters{
		ChannelID: channel, Limit: findLimit, IncludeAllMetadata: true,
		Oldest: fmt.Sprintf("%d.000000", max(0, at.Add(-findWithin).Unix())),
	}
	for range findPages {
		page, err := b.api.GetConversationHistoryContext(ctx, &params)
		if err == nil && !page.Ok {
			err = errNoSlack
		}
		if err != nil {
			return ref{}, b.orBlind(b.explain("reading the channel's history", err))
		}
		for _, found := range page.Messages {
			if part, seen, ours := isOurs(found.Metadata, b.m); ours && part == "" {
				return ref{To: b.channel, Channel: channel, TS: found.Timestamp, Noticed: seen}, nil
			}
		}
		if params.Cursor = page.ResponseMetaData.NextCursor; params.Cursor == "" {
			break
		}
	}
	return ref{}, nil
}

// findReplies does the same for the thread: the reply that holds the details, and
// what people were pinged with.
func (b *bot) findReplies(ctx context.Context, r *ref) error {
	replies, _, _, err := b.api.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
		ChannelID: r.Channel, Timestamp: r.TS, Limit: findLimit, IncludeAllMetadata: true,
	})
	if err != nil {
		if err = b.explain("reading a thread", err); gone(err) {
			return nil
		}
		return b.orBlind(err)
	}
	for _, reply := range replies {
		part, seen, ours := isOurs(reply.Metadata, b.m)
		if ours && part == partDetails && r.Thread == "" {
			r.Thread = reply.Timestamp
		}
		if ours && seen == version(b.m) && reply.SubType == "thread_broadcast" {
			r.Noticed = seen
		}
	}
	return nil
}

// orBlind goes on without having looked when Slack does not let us.
func (b *bot) orBlind(err error) error {
	if !refused(err) {
		return err
	}
	if b.once("blind") {
		b.log.Warn("cannot look for messages that were sent already, some may come twice after a crash", "error", err,
			"hint", "give the bot the scopes channels:history and channels:read, or groups:history and groups:read for a private channel")
	}
	return nil
}

// resolve returns the channel's ID. Only posting knows names.
func (b *bot) resolve(ctx context.Context) (string, error) {
	if channelID.MatchString(b.channel) {
		return b.channel, nil
	}
	b.mu.Lock()
	known := b.channels[b.channel]
	b.mu.Unlock()
	if known != "" {
		return known, nil
	}
	found, err := b.lookUp(ctx)
	if err == nil {
		b.remember(found.ID)
	}
	return found.ID, err
}

func (b *bot) remember(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.channels[b.channel] = id
}

// lookUp searches the channels that the bot is a member of: the public ones,
// then the private ones, for which it needs another scope.
func (b *bot) lookUp(ctx context.Context) (slack.Channel, error) {
	name := strings.TrimPrefix(b.channel, "#")
	for _, sort := range []string{"public_channel", "private_channel"} {
		params := slack.GetConversationsForUserParameters{Types: []string{sort}, Limit: findLimit}
		for range findPages {
			channels, next, err := b.api.GetConversationsForUserContext(ctx, &params)
			if err = b.explain("looking for the channel", err); err != nil && sort == "private_channel" && refused(err) {
				break
			}
			if err != nil {
				return slack.Channel{}, err
			}
			for _, channel := range channels {
				if channel.Name == name {
					return channel, nil
				}
			}
			if params.Cursor = next; next == "" {
				break
			}
		}
	}
	return slack.Channel{}, &notify.RefusedError{Reason: "not_in_channel", Account: true, Hint: b.hint("not_in_channel", "")}
}
