package slack

import "fmt"

// kind says who can mend what Slack complains of.
type kind int

const (
	_         kind = iota // time, perhaps
	isBusy                // time, certainly
	isGone                // the message cannot be edited
	isMessage             // the message
	isLogin               // whoever made the token
	isScope               // whoever made the app
	isChannel             // whoever wrote the config
	isOutside             // whoever may invite
	isForbidden
	isHook // whoever made the webhook
)

// kinds is what Slack's words mean. Those of the webhook and of the Web API do
// not contradict each other.
var kinds = map[string]kind{
	"ratelimited": isBusy, "rate_limited": isBusy, "message_limit_exceeded": isBusy,

	"message_not_found": isGone, "cant_update_message": isGone, "edit_window_closed": isGone,

	"invalid_blocks": isMessage, "invalid_blocks_format": isMessage, "msg_blocks_too_long": isMessage,
	"msg_too_long": isMessage, "no_text": isMessage, "invalid_payload": isMessage,
	"too_many_attachments": isMessage, "invalid_attachments": isMessage, "invalid_arguments": isMessage,
	"invalid_metadata_format": isMessage, "invalid_metadata_schema": isMessage,
	"metadata_too_large": isMessage, "metadata_must_be_sent_from_app": isMessage,
	"markdown_text_conflict": isMessage, "duplicate_message_not_allowed": isMessage,

	"not_authed": isLogin, "invalid_auth": isLogin, "token_revoked": isLogin, "token_expired": isLogin,
	"account_inactive": isLogin, "not_allowed_token_type": isLogin, "org_login_required": isLogin,

	"missing_scope": isScope, "no_permission": isScope,

	"channel_not_found": isChannel, "is_archived": isChannel, "channel_is_archived": isChannel,
	"is_inactive": isChannel, "no_channel": isChannel,

	"not_in_channel": isOutside,

	"action_prohibited": isForbidden, "posting_to_general_channel_denied": isForbidden,
	"restricted_action": isForbidden, "restricted_action_read_only_channel": isForbidden,
	"restricted_action_non_threadable_channel": isForbidden, "restricted_action_thread_only_channel": isForbidden,
	"ekm_access_denied": isForbidden, "access_denied": isForbidden, "accesslimited": isForbidden,
	"enterprise_is_restricted": isForbidden, "team_access_not_granted": isForbidden,
	"two_factor_setup_required": isForbidden, "messages_tab_disabled": isForbidden,

	"no_service": isHook, "no_service_id": isHook, "no_team": isHook, "no_active_hooks": isHook,
	"invalid_token": isHook, "team_disabled": isHook, "user_not_found": isHook,
}

// hint says what the reader can do about a refusal that every message meets.
func (l login) hint(word, needed string) string {
	switch kinds[word] {
	case isLogin:
		return l.secretName() + ": it must be the bot token (xoxb-…) of an app that is installed in the workspace"
	case isScope:
		if needed == "" {
			needed = "chat:write"
		}
		return fmt.Sprintf("add the bot scope %s to the app at api.slack.com/apps and install it again", needed)
	case isChannel:
		if !l.bot {
			return "the channel of the webhook is gone or archived: make a webhook for another one"
		}
		return fmt.Sprintf("slack.channel is %q: write the channel's ID (C…), unarchive it, and invite the bot when it is private", l.channel)
	case isOutside:
		return fmt.Sprintf("type /invite @ and the name of the bot in the channel %s", l.channel)
	case isHook:
		return l.secretName() + ": make a new one, for it was revoked or is not complete"
	}
	return "the settings of the workspace forbid it: ask its administrators"
}
