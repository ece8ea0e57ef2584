package daemon

import (
	"cmp"
	"context"
	"errors"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/notify/slack"
)

// slackName says which way a message takes. It never tells a URL: that is a
// password.
func slackName(c config.Slack) string {
	switch {
	case c.BotTokenFile != "":
		return cmp.Or(c.Channel, "bot")
	case c.Configured():
		return "webhook"
	}
	return "–"
}

// probeSlack asks Slack whether it would take a message; with post it sends one.
func probeSlack(ctx context.Context, c config.Slack, post bool) agent.Finding {
	if !c.Configured() {
		return failed(agent.WithHint(errors.New("no [slack] is configured, so there is nobody to send to"),
			`add [slack] with webhook_url_file = "…" to the config`))
	}
	text, err := slack.New(slackOptions(nil, c)).Check(ctx, post)
	if err != nil {
		return failed(err)
	}
	return fine("%s", text)
}
