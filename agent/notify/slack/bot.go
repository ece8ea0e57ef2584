package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slack-go/slack"

	"rollback-agent/agent/notify"
)

// bot sends one version of one message.
type bot struct {
	*Sender
	login
	w   writer
	api *slack.Client
	m   notify.Message
}

// send brings the message up to date, then its thread. Each step is in the
// reference before the next begins, so that a repetition does none twice.
func (b *bot) send(ctx context.Context, earlier notify.Attempt) (string, error) {
	r, err := b.locate(ctx, earlier)
	if err != nil {
		return "", err
	}
	edited, err := b.sendMain(ctx, &r, earlier.Unsure)
	if err != nil {
		return "", err
	}
	if edited && earlier.Unsure {
		if err := b.findReplies(ctx, &r); err != nil {
			return r.String(), err
		}
	}
	if err := b.sendDetails(ctx, &r); err != nil {
		return r.String(), err
	}
	err = b.sendNotice(ctx, &r)
	return r.String(), err
}

// locate finds out where the message is, as far as it exists.
func (b *bot) locate(ctx context.Context, earlier notify.Attempt) (ref, error) {
	r := parseRef(earlier.Ref, b.channel)
	if r.TS != "" || !earlier.Unsure {
		return r, nil
	}
	return b.findMain(ctx)
}

// sendMain edits the message, or posts it when there is none to edit. What is
// gone may have been posted anew by an earlier try.
func (b *bot) sendMain(ctx context.Context, r *ref, unsure bool) (edited bool, err error) {
	c := b.w.short(b.m)
	for tried := ""; r.TS != "" && r.TS != tried; {
		if err := b.update(ctx, *r, r.TS, c); !gone(err) {
			return true, err
		}
		tried, *r = r.TS, ref{}
		if !unsure {
			break
		}
		if *r, err = b.findMain(ctx); err != nil {
			return false, err
		}
	}
	channel, ts, err := b.post(ctx, b.channel, c, "")
	if err != nil {
		return false, err
	}
	b.remember(channel)
	*r = ref{To: b.channel, Channel: channel, TS: ts, Noticed: version(b.m)}
	return false, nil
}

// mustNotice tells whether people have to be pinged: an edit alone pings nobody.
func (b *bot) mustNotice(r ref) bool { return b.m.Loud && r.Noticed != version(b.m) }

// sendDetails keeps the one reply up to date that holds them. When it is posted
// for a loud version, the channel shows it, too.
func (b *bot) sendDetails(ctx context.Context, r *ref) error {
	c := b.w.details(b.m)
	content := sum(c.text + blocksText(c.blocks))
	if len(c.blocks) == 0 || r.Thread != "" && r.Details == content {
		return nil
	}
	if r.Thread != "" {
		err := b.update(ctx, *r, r.Thread, c)
		if err == nil {
			r.Details = content
		}
		if !gone(err) {
			return b.orGiveUp(err)
		}
		r.Thread = ""
	}
	ts, err := b.reply(ctx, r, c, partDetails)
	if err == nil {
		r.Thread, r.Details = ts, content
	}
	return b.orGiveUp(err)
}

// sendNotice pings people for a loud version that only edited what was there.
func (b *bot) sendNotice(ctx context.Context, r *ref) error {
	if !b.mustNotice(*r) {
		return nil
	}
	_, err := b.reply(ctx, r, b.w.notice(b.m), partNotice)
	return b.orGiveUp(err)
}

// orGiveUp goes on without a reply that Slack takes in no form: the message
// itself is there.
func (b *bot) orGiveUp(err error) error {
	if !refusedLooks(err) {
		return err
	}
	b.log.Warn("slack refused a reply with details, they are left out", "key", b.m.Key, "error", err)
	return nil
}

// post makes a message of the channel. It returns the channel's ID and the
// message's time stamp, which is its name.
func (b *bot) post(ctx context.Context, to string, c content, part string, more ...slack.MsgOption) (channel, ts string, err error) {
	marked := slack.MsgOptionMetadata(metadata(b.m, part))
	err = b.inEitherForm(c, marked, func(options ...slack.MsgOption) error {
		channel, ts, err = b.api.PostMessageContext(ctx, to, append(options, more...)...)
		if err == nil && (channel == "" || ts == "") {
			err = errNoSlack
		}
		return b.explain("posting to Slack", err)
	})
	return channel, ts, err
}

// reply posts into the thread. The channel shows it, too, when people do not know
// of this version.
func (b *bot) reply(ctx context.Context, r *ref, c content, part string) (ts string, err error) {
	more := []slack.MsgOption{slack.MsgOptionTS(r.TS)}
	loud := b.mustNotice(*r)
	if loud {
		more = append(more, slack.MsgOptionBroadcast())
	}
	_, ts, err = b.post(ctx, r.Channel, c, part, more...)
	if err == nil && loud {
		r.Noticed = version(b.m)
	}
	return ts, err
}

// update edits one. Slack keeps its metadata.
func (b *bot) update(ctx context.Context, r ref, ts string, c content) error {
	return b.inEitherForm(c, slack.MsgOptionCompose(), func(options ...slack.MsgOption) error {
		_, got, _, err := b.api.UpdateMessageContext(ctx, r.Channel, ts, options...)
		if err == nil && got == "" {
			err = errNoSlack
		}
		return b.explain("editing a message in Slack", err)
	})
}

// inEitherForm sends with blocks, and once more as plain text when Slack refuses
// the message as such.
func (b *bot) inEitherForm(c content, marked slack.MsgOption, send func(...slack.MsgOption) error) error {
	common := slack.MsgOptionCompose(slack.MsgOptionParse(false), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
	err := send(common, marked, slack.MsgOptionText(c.text, false), slack.MsgOptionBlocks(c.blocks...))
	if !refusedLooks(err) {
		return err
	}
	b.logPlain(err)
	options := []slack.MsgOption{common, slack.MsgOptionText(c.plain, false), slack.MsgOptionBlocks()}
	if !isMetadata(err) {
		options = append(options, marked)
	}
	return send(options...)
}

func gone(err error) bool {
	_, is := errors.AsType[*goneError](err)
	return is
}

func blocksText(blocks []slack.Block) string {
	text, err := json.Marshal(blocks)
	if err != nil {
		return fmt.Sprint(blocks)
	}
	return string(text)
}
