package daemon_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// planted are the secrets of the fleet, each with a name for the failure text.
// None is a part of another one's name.
type planted map[string]string

func plantedSecrets() planted {
	return planted{
		"database url":      "postgres://shop:pl4nted-db-pass@db.internal/shop",
		"database password": "pl4nted-db-pass",
		"api key of .env":   "pl4nted-api-key-of-dotenv",
		"only in a label":   "pl4nted-and-in-no-environment",
		"env_file":          "pl4nted-env-file-value",
		"compose secret":    "pl4nted-content-of-a-secret",
		"key, line 1":       "MIIplanted1KLmnopqrstuvwxyzABCDEFGHIJ",
		"key, line 2":       "MIIplanted2KLmnopqrstuvwxyzABCDEFGHIJ",
		"slack-like token":  "xoxb-123456789012-pl4ntedSlackLike",
		"aws-like key":      "AKIAPL4NTEDKEY234567",
		"health header":     "pl4nted-health-header",
		"health query":      "pl4nted-health-query",
		"registry password": "pl4nted/registry+pass",
		"webhook":           "pl4ntedWebhookSecret",
		"bot token":         "xoxb-999999999999-999999999999-pl4ntedBotToken",
		"url in an error":   "pl4nted-userinfo",
		"unread value":      "pl4nted-value-that-was-never-loaded",
	}
}

// forms are the shapes in which a secret may show.
func (p planted) forms() map[string]string {
	forms := map[string]string{}
	for name, value := range p {
		forms[name] = value
		forms[name+", in base64"] = base64.StdEncoding.EncodeToString([]byte(value))
		for name, form := range map[string]string{name + ", URL-encoded": url.QueryEscape(value), name + ", path-encoded": url.PathEscape(value)} {
			if form != value {
				forms[name] = form
			}
		}
	}
	forms["login, in base64"] = base64.StdEncoding.EncodeToString([]byte("deployer:" + p["registry password"]))
	return forms
}

// search fails the test for each secret in what left the agent.
func (p planted) search(t *testing.T, where string, text []byte) {
	t.Helper()
	for name, form := range p.forms() {
		if at := bytes.Index(text, []byte(form)); at >= 0 {
			t.Errorf("%s: got the %s in …%s…", where, name, text[max(0, at-150):min(len(text), at+len(form)+20)])
		}
	}
}

// leaky is a service that gives its secrets away wherever it can.
func leaky(f *fleet, p planted) *unit {
	f.t.Helper()
	web := f.unit("web",
		fmt.Sprintf(`health_headers = { Authorization = %q }`, p["health header"]),
		fmt.Sprintf(`before_deploy = [%q]`, f.path("before.sh")))
	web.query = "?token=" + p["health query"]
	f.put("before.sh", "#!/bin/sh\nexit 0\n")
	if err := os.Chmod(f.path("before.sh"), 0o755); err != nil {
		f.t.Fatal(err)
	}
	f.dotEnv(p)
	f.put("web/more.env", "MORE_KEY="+p["env_file"]+"\n")
	f.put("web/secret.txt", p["compose secret"]+"\n")
	return web
}

func (f *fleet) dotEnv(p planted) {
	f.t.Helper()
	f.put("web/.env", "API_KEY="+p["api key of .env"]+"\nADMIN_PASSWORD="+p["only in a label"]+"\n")
}

// compose makes the unit print every secret that it has, in mode.
func (p planted) compose(u *unit, image, mode string) {
	u.compose(image,
		"env_file: [more.env]",
		"secrets: [token]",
		"labels: {admin: \"user:${ADMIN_PASSWORD}\"}",
		"environment:",
		"  DATABASE_URL: "+strconv.Quote(p["database url"]),
		"  API_KEY: ${API_KEY}",
		"  PRIVATE_KEY: "+strconv.Quote("-----BEGIN PRIVATE KEY-----\n"+p["key, line 1"]+"\n"+p["key, line 2"]+"\n-----END PRIVATE KEY-----"),
		"  APP_MODE: "+mode,
		"  APP_PRINTS: DATABASE_URL,API_KEY,MORE_KEY,PRIVATE_KEY,SAYS,TOKENS,FILE",
	)
	text, err := os.ReadFile(u.path(u.dir + "/compose.yaml"))
	if err != nil {
		u.t.Fatal(err)
	}
	u.put(u.dir+"/compose.yaml", string(text)+"secrets:\n  token: {file: ./secret.txt}\n")
}

// everything is what the agent shows of itself over the socket and by its commands.
func (f *fleet) everything() map[string][]byte {
	f.t.Helper()
	shown := map[string][]byte{"log": []byte(f.log.String())}
	paths := []string{"/v1/version", "/v1/status", "/v1/notices", "/v1/plan", "/v1/deployments?limit=1000", "/v1/events?last=1000", "/v1/nowhere"}
	list, err := f.client.Deployments(f.t.Context(), agent.HistoryFilter{Limit: 1000})
	if err != nil {
		f.t.Fatal(err)
	}
	commands := [][]string{{"status"}, {"history"}, {"events", "--last", "1000"}, {"plan"}}
	for _, d := range list {
		id := strconv.FormatInt(d.ID, 10)
		paths = append(paths, "/v1/deployments/"+id)
		commands = append(commands, []string{"show", id})
		if d.To != 0 {
			paths = append(paths, fmt.Sprintf("/v1/releases/%s/%d", d.Service, d.To))
			commands = append(commands, []string{"show", "--diff", id})
		}
	}
	for _, path := range paths {
		shown[path] = f.raw(path)
	}
	for _, command := range commands {
		for _, form := range []string{"table", "json"} {
			args := append(slices.Clone(command), "--output", form, "--config", f.path("config.toml"))
			out, err := exec.CommandContext(f.t.Context(), agentBinary(f.t), args...).CombinedOutput()
			if err != nil {
				f.t.Errorf("agent %s: %v: %s", strings.Join(args, " "), err, out)
			}
			shown["agent "+strings.Join(args, " ")] = out
		}
	}
	return shown
}

// raw is an answer of the socket, byte for byte.
func (f *fleet) raw(path string) []byte {
	f.t.Helper()
	var dialer net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", f.path("agent.sock"))
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return body
}

// private fails the test when anybody else may read what the agent keeps.
func (f *fleet) private() {
	f.t.Helper()
	err := filepath.WalkDir(f.path("state"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			f.t.Errorf("got mode %s of %s, want it for its owner alone", info.Mode(), path)
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// Secrets are everywhere in what the agent reads and hears, and nowhere in what
// it logs, answers, records as events or sends.
func TestNoSecretLeaves(t *testing.T) {
	p := plantedSecrets()
	for medium, start := range map[string]func(*fleet) *testbed.Slack{
		"bot": func(f *fleet) *testbed.Slack { return f.workspace(testbed.SlackOptions{Token: p["bot token"]}) },
		"webhook": func(f *fleet) *testbed.Slack {
			slack := f.startSlack(testbed.SlackOptions{Secret: p["webhook"]})
			f.top += fmt.Sprintf("[slack]\nwebhook_url = %q\non = [\"held\", \"rolled_back\", \"failed\", \"trouble\", \"waiting\", \"succeeded\"]\n", slack.WebhookURL())
			return slack
		},
	} {
		t.Run(medium, func(t *testing.T) {
			f := newFleet(t, testbed.RegistryOptions{User: "deployer", Password: p["registry password"]})
			f.top = fmt.Sprintf("[registry]\npoll_interval = %q\ndocker_config = %q\n", poll, f.path("docker"))
			f.login("deployer", p["registry password"])
			slack := start(f)
			f.top += "log_lines = 30\n"
			web := leaky(f, p)
			tokens := []testbed.Option{
				testbed.Env("TOKENS", p["slack-like token"]+" and "+p["aws-like key"]),
				testbed.Env("FILE", p["compose secret"]),
				testbed.Env("SAYS", "dsn password="+p["database password"]+" escaped="+url.QueryEscape(p["database url"])),
			}
			f.push("stable", "v1", testbed.Good, tokens...)
			p.compose(web, f.bed.Ref("app", "stable"), "good")
			f.begin()
			web.next(agent.StateSucceeded)

			p.compose(web, f.bed.Ref("app", "stable"), "crash")
			d := web.next(agent.StateRolledBack)
			log := fmt.Sprint(d.Diagnoses)
			for _, word := range []string{"DATABASE_URL is •••", "API_KEY is •••", "MORE_KEY is •••", "FILE is •••", "TOKENS is ••• and •••", "password=••• escaped=•••"} {
				if !strings.Contains(log, word) {
					t.Errorf("got %s, want %q: the app has printed it", log, word)
				}
			}
			f.says(slack, "DATABASE_URL is •••", "TOKENS is ••• and •••")

			p.compose(web, f.bed.Ref("app", "stable"), "sick") // the probe repeats what the app answers
			web.next(agent.StateRolledBack)

			f.push("checked", "v2", testbed.Sick, append(tokens, testbed.Check(500*time.Millisecond, 0, 1))...) // and so does the HEALTHCHECK
			p.compose(web, f.bed.Ref("app", "checked"), "sick")
			if d := web.next(agent.StateRolledBack); !strings.Contains(fmt.Sprint(d.Diagnoses), "•••") {
				t.Errorf("got %+v, want the HEALTHCHECK's own words", d.Diagnoses)
			}
			web.order(agent.Order{Verb: agent.VerbResume}) // the storm brake

			f.put("before.sh", "#!/bin/sh\necho no leave, "+p["api key of .env"]+"\nexit 1\n")
			if err := os.Chmod(f.path("before.sh"), 0o755); err != nil {
				t.Fatal(err)
			}
			p.compose(web, f.bed.Ref("app", "stable"), "slow")
			d = web.next(agent.StateFailed)
			if !strings.Contains(d.Message, "no leave, •••") {
				t.Errorf("got %q, want the command's words without the secret", d.Message)
			}
			f.says(slack, "no leave, •••")

			note := "because of " + p["database password"] + " and " + p["api key of .env"]
			web.order(agent.Order{Verb: agent.VerbDeploy, Force: true, Note: note})
			web.next(agent.StateFailed)
			web.order(agent.Order{Verb: agent.VerbPause, Note: note})
			web.status(func(s agent.Status) error {
				if s.Pause == nil || !strings.Contains(s.Pause.Note, "•••") {
					return fmt.Errorf("got pause %+v, want its note without the secrets", s.Pause)
				}
				return nil
			})
			web.order(agent.Order{Verb: agent.VerbResume})

			if medium == "bot" { // what they say does not depend on who hears it
				f.troubles(web, p)
			}

			for _, request := range slack.Requests() {
				login := []byte("&token=" + url.QueryEscape(p["bot token"])) // Slack has to know it
				p.search(t, "slack "+request.Path, bytes.Replace(request.Body, login, nil, 1))
			}
			for where, text := range f.everything() {
				p.search(t, where, text)
			}
			f.private()
		})
	}
}

// troubles are files that cannot be loaded and a registry that answers with what
// it should not.
func (f *fleet) troubles(web *unit, p planted) {
	f.t.Helper()
	invalid := func(what string) {
		f.t.Helper()
		web.status(func(s agent.Status) error {
			if s.Plan.Reason != agent.ReasonInvalid || s.Error == "" {
				return fmt.Errorf("%s: got %+v, %q, want it invalid", what, s.Plan, s.Error)
			}
			return nil
		})
		if _, err := f.client.Order(f.t.Context(), agent.Order{Verb: agent.VerbDeploy, Service: web.name}); err == nil {
			f.t.Errorf("%s: got a deployment, want it refused", what)
		} else {
			p.search(f.t, what+": refusal of an order", []byte(err.Error()+agent.Hint(err)))
		}
	}
	valid := func() {
		f.t.Helper()
		p.compose(web, f.bed.Ref("app", "stable"), "good")
		web.status(func(s agent.Status) error {
			if s.Error != "" {
				return fmt.Errorf("got %q, want it mended", s.Error)
			}
			return nil
		})
	}
	for _, broken := range []string{"API_KEY=\"" + p["api key of .env"] + "\nOTHER=1\n", "API_KEY=\"" + p["unread value"] + "\n", "API!KEY=" + p["unread value"] + "\n"} {
		f.put("web/.env", broken)
		invalid(broken)
		f.dotEnv(p)
		valid()
	}
	f.put("web/more.env", "MORE_KEY=\""+p["unread value"]+"\n")
	invalid("env_file")
	f.put("web/more.env", "MORE_KEY="+p["env_file"]+"\n")
	valid()
	for _, broken := range []string{"environment: [" + p["env_file"], "stop_grace_period: " + p["env_file"]} {
		web.compose(f.bed.Ref("app", "stable"), "env_file: [more.env]", broken)
		invalid(broken)
		valid()
	}

	f.bed.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://someone:"+p["url in an error"]+"@"+f.bed.Registry.Host+"/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	web.status(func(s agent.Status) error {
		if !strings.Contains(fmt.Sprint(s.Warnings), "registry") {
			return fmt.Errorf("got %q, want the registry's trouble", s.Warnings)
		}
		return nil
	})
	f.event(func(e agent.Event) bool {
		return e.Kind == agent.EventTrouble && strings.HasPrefix(e.Subject, "registry")
	})
	f.bed.Registry.Intercept(nil)
	f.event(func(e agent.Event) bool {
		return e.Kind == agent.EventMended && strings.HasPrefix(e.Subject, "registry")
	})
}
