package slack

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"rollback-agent/agent"
	"rollback-agent/agent/notify"
)

// login is what one message is sent with.
type login struct {
	bot     bool
	token   string
	hook    *url.URL
	api     string // base of the Web API, with a slash at its end
	channel string // as the config names it
	origin  string // where the secret came from, for hints

	secrets []agent.Secret // in every form in which an error may hold them
}

// login reads the secrets. Its errors are refusals: no message goes out until
// somebody mends the config.
func (s *Sender) login() (login, error) {
	if s.Updates() {
		return s.botLogin()
	}
	if s.opts.WebhookURL != "" || s.opts.WebhookURLFile != "" {
		return s.hookLogin()
	}
	return login{}, refuse("no webhook, and no bot token with a channel", "set webhook_url_file, or bot_token_file and channel, in [slack]")
}

func (s *Sender) botLogin() (login, error) {
	token, origin, err := s.secret(s.opts.BotToken, s.opts.BotTokenFile, "bot_token")
	if err != nil {
		return login{}, err
	}
	l := login{bot: true, token: token, origin: origin, channel: s.opts.Channel, secrets: []agent.Secret{agent.Secret(token)}}
	api, err := safeURL(s.opts.APIURL)
	if err != nil {
		return login{}, refuse("the URL of the Web API "+err.Error(), "leave api_url out: it is https://slack.com/api/")
	}
	l.api = strings.TrimSuffix(api.String(), "/") + "/"
	return l, nil
}

func (s *Sender) hookLogin() (login, error) {
	text, origin, err := s.secret(s.opts.WebhookURL, s.opts.WebhookURLFile, "webhook_url")
	if err != nil {
		return login{}, err
	}
	hook, err := safeURL(text)
	if err != nil {
		return login{}, refuse(fmt.Sprintf("the webhook URL from %s %v", origin, err), "it looks like https://hooks.slack.com/services/T…/B…/…")
	}
	l := login{hook: hook, origin: origin}
	for _, form := range []string{text, hook.String(), hook.RequestURI(), hook.Path, path.Base(hook.Path)} {
		l.secrets = append(l.secrets, agent.Secret(form))
	}
	return l, nil
}

// secret returns a value and where it came from. The file goes first.
func (s *Sender) secret(value agent.Secret, file, key string) (text, origin string, err error) {
	if file == "" {
		return strings.TrimSpace(value.Reveal()), "slack." + key, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", "", refuse(fmt.Sprintf("reading slack.%s_file: %v", key, err), "the file must be there and readable for the user of the agent")
	}
	if text = strings.TrimSpace(string(content)); text == "" {
		return "", "", refuse(fmt.Sprintf("slack.%s_file %s is empty", key, file), "the file must hold the secret and nothing else")
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 && s.once("mode "+file) {
		s.log.Warn("a secret is readable by everybody on this host", "file", file, "hint", "chmod o-r "+file)
	}
	return text, file, nil
}

// safeURL refuses what would send a secret in the clear. Its errors follow the
// name of the URL and do not repeat it.
func safeURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return nil, fmt.Errorf("is no URL")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("must begin with https://")
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// refuse says that no message can go out.
func refuse(reason, hint string) error {
	return &notify.RefusedError{Reason: reason, Account: true, Hint: hint}
}

// secretName is what hints call the secret.
func (l login) secretName() string {
	kind := "webhook URL"
	if l.bot {
		kind = "bot token"
	}
	return fmt.Sprintf("the %s came from %s", kind, cmp.Or(l.origin, "the config"))
}
