package daemon_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
	"rollback-agent/agent/testbed"
)

// workspace is Slack, and the agent's bot in it. The token is in a file.
func (f *fleet) workspace(opts ...testbed.SlackOptions) *testbed.Slack {
	f.t.Helper()
	slack := f.startSlack(opts...)
	f.put("token", slack.Options().Token)
	f.top += fmt.Sprintf("[slack]\nbot_token_file = %q\nchannel = \"deploys\"\napi_url = %q\n", f.path("token"), slack.APIURL())
	return slack
}

// hook is Slack, and an incoming webhook. Its URL is in a file.
func (f *fleet) hook(keys ...string) *testbed.Slack {
	f.t.Helper()
	slack := f.startSlack()
	f.put("webhook", slack.WebhookURL())
	f.top += fmt.Sprintf("[slack]\nwebhook_url_file = %q\n%s\n", f.path("webhook"), strings.Join(keys, "\n"))
	return slack
}

func (f *fleet) startSlack(opts ...testbed.SlackOptions) *testbed.Slack {
	f.t.Helper()
	slack, err := testbed.StartSlack(append(opts, testbed.SlackOptions{})[0])
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := slack.Close(); err != nil {
			f.t.Errorf("closing slack: %v", err)
		}
	})
	return slack
}

// short is how people are shown an image: "app:stable@0123456789ab".
func short(tag, digest string) string {
	return agent.Artifact{Ref: "app:" + tag, Digest: digest}.Short()
}

// says waits for a message, its thread included, that holds all of the words.
func (f *fleet) says(slack *testbed.Slack, words ...string) testbed.SlackMessage {
	f.t.Helper()
	var found testbed.SlackMessage
	testbed.Eventually(f.t, 20*time.Second, func() error {
		var all []string
		for _, m := range slack.Messages() {
			text := m.Render()
			if missing := lacking(text, words); len(missing) == 0 {
				found = m
				return nil
			}
			all = append(all, text)
		}
		return fmt.Errorf("no message has all of %q:\n%s", words, strings.Join(all, "\n=====\n"))
	})
	return found
}

func lacking(text string, words []string) []string {
	var missing []string
	for _, word := range words {
		if !strings.Contains(text, word) {
			missing = append(missing, word)
		}
	}
	return missing
}

// event waits for an event.
func (f *fleet) event(is func(agent.Event) bool) {
	f.t.Helper()
	testbed.Eventually(f.t, 20*time.Second, func() error {
		found := errors.New("there is no such event")
		err := f.client.LastEvents(f.t.Context(), control.MaxPage, false, nil, func(e agent.Event) error {
			if is(e) {
				found = nil
			}
			return nil
		})
		return errors.Join(err, found)
	})
}

// noticed waits for a notice about Slack that holds all of the words; without
// words, for none.
func (f *fleet) noticed(words ...string) {
	f.t.Helper()
	testbed.Eventually(f.t, 20*time.Second, func() error {
		all, err := f.client.Notices(f.t.Context())
		if err != nil {
			return err
		}
		text := fmt.Sprint(all)
		if len(words) == 0 && len(all) > 0 || len(lacking(text, words)) > 0 {
			return fmt.Errorf("got notices %s, want %q", text, words)
		}
		return nil
	})
}

// about returns the messages about a deployment, by its number in their commands.
func about(slack *testbed.Slack, id int64) []testbed.SlackMessage {
	var found []testbed.SlackMessage
	for _, m := range slack.Messages() {
		for line := range strings.Lines(m.Render()) {
			if strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "|"), " \n") == fmt.Sprintf("agent show %d", id) {
				found = append(found, m)
				break
			}
		}
	}
	return found
}

// What people read is enough to act on: which service and host, from what to what,
// what serves now, why, the last words of what failed, and what to type.
func TestPeopleReadWhatTheyNeed(t *testing.T) {
	for medium, start := range map[string]func(*fleet) *testbed.Slack{
		"bot":     func(f *fleet) *testbed.Slack { return f.workspace() },
		"webhook": func(f *fleet) *testbed.Slack { return f.hook(`on = ["held", "rolled_back", "failed", "succeeded"]`) },
	} {
		t.Run(medium, func(t *testing.T) {
			f := newFleet(t)
			slack := start(f)
			v1 := short("stable", f.push("stable", "v1", testbed.Good))
			web := f.unit("web")
			web.compose(f.bed.Ref("app", "stable"))
			f.begin()
			d := web.next(agent.StateSucceeded)
			f.says(slack, web.name+" on vm-17: r1 is deployed", "nothing → r1 "+v1, "Serves now: r1 "+v1, fmt.Sprintf("agent show %d", d.ID))

			v2 := short("stable", f.push("stable", "v2", testbed.Crash))
			d = web.next(agent.StateRolledBack)
			f.says(slack, web.name+" on vm-17: rolled back (crash), r1 serves again", "r1 "+v1+" → r2 "+v2, "Serves now: r3 (r1 again) "+v1,
				"exit", `panic: settings: key "database" is missing`, "exit code 1", fmt.Sprintf("agent show %d", d.ID))

			v3 := short("stable", f.push("stable", "v3", testbed.Good))
			d = web.next(agent.StateSucceeded)
			f.says(slack, web.name+" on vm-17: r4 is deployed", "r3 (r1 again) "+v1+" → r4 "+v3, "Serves now: r4 "+v3)

			web.compose(f.bed.Ref("app", "stable"), `environment: {APP_HEALTH: "503"}`)
			d = web.next(agent.StateRolledBack)
			f.says(slack, web.name+" on vm-17: rolled back (health_deadline), r4 serves again", "r4 → r5, same images, other config", "HTTP 503", "Serves now: r6 (r4 again) "+v3, fmt.Sprintf("agent show --diff %d", d.ID))

			web.compose(f.bed.Ref("app", "nowhere"))
			d = web.next(agent.StateFailed)
			f.says(slack, web.name+" on vm-17: not deployed (unresolvable), r6 serves", "app:nowhere", "Serves now: r6 (r4 again) "+v3, "was it pushed?", fmt.Sprintf("agent show %d", d.ID))

			f.stop()
			web.keys = `on_failure = "hold"`
			f.begin()
			web.planned(agent.ReasonEarlierFailed)
			web.compose(f.bed.Ref("app", "stable"), `environment: {APP_HEALTH: "502"}`)
			held := web.in(agent.StateHeld)
			f.says(slack, web.name+" on vm-17: held (health_deadline), decide", "Without a decision it is kept at ", "HTTP 502", fmt.Sprintf("agent keep %d", held.ID), "agent rollback "+web.name)
			web.order(agent.Order{Verb: agent.VerbRollback})
			web.next(agent.StateRolledBack)
			for id := int64(1); medium == "bot" && id <= held.ID; id++ {
				if got := about(slack, id); len(got) != 1 {
					t.Errorf("got %d messages about deployment %d, want one that is kept up to date", len(got), id)
				}
			}
		})
	}
}
