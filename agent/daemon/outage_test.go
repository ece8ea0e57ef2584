package daemon_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// flood deploys so many times, by turns of two configs.
func flood(web *unit, n int) {
	for range n {
		web.compose(web.bed.Ref("app", "v1"), fmt.Sprintf(`environment: {TURN: "%d"}`, web.seen%2))
		web.next(agent.StateSucceeded)
	}
}

// once fails the test unless each deployment has one message, in the state it is in now.
func (f *fleet) once(slack *testbed.Slack, from, to int64) {
	f.t.Helper()
	testbed.Eventually(f.t, 90*time.Second, func() error {
		for id := from; id <= to; id++ {
			d, err := f.client.Deployment(f.t.Context(), id)
			if err != nil {
				return err
			}
			want := map[agent.State]string{agent.StateSucceeded: "is deployed", agent.StateRolledBack: "rolled back ("}[d.State]
			found := about(slack, id)
			if len(found) != 1 || want == "" || !strings.Contains(found[0].Render(), want) {
				return fmt.Errorf("deployment %d is %s: got %d messages, want one that says so", id, d.State, len(found))
			}
		}
		return nil
	})
	if got := len(slack.Messages()); int64(got) != to-from+1 {
		f.t.Errorf("got %d messages, want one for each of deployments %d to %d", got, from, to)
	}
}

// Slack is away while ten deployments happen and the agent is restarted: when it is
// back, each has one message, in its latest state.
func TestField23SlackDownForTenDeployments(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	f.push("v1", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "v1"))
	if err := slack.Down(); err != nil {
		t.Fatal(err)
	}
	f.begin()
	web.next(agent.StateSucceeded)
	flood(web, 4)
	f.noticed("slack", "messages wait")
	f.stop()
	f.resume()
	flood(web, 4)
	web.compose(f.bed.Ref("app", "v1"), `environment: {APP_MODE: crash}`)
	web.next(agent.StateRolledBack)
	if err := slack.Up(); err != nil {
		t.Fatal(err)
	}
	f.once(slack, 1, web.seen)
	f.noticed()
}

// A message that Slack refuses for good is set aside, and people see it in the
// status; the others arrive.
func TestField23RefusedMessageHoldsUpNoOther(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	slack.Intercept(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err == nil && strings.Contains(r.Form.Get("text"), "r2") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"ok": false, "error": "invalid_blocks"}`)
			return
		}
		r.Body = http.NoBody // it is in the form by now
		slack.Serve(w, r)
	})
	f.push("v1", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "v1"))
	f.begin()
	web.next(agent.StateSucceeded)
	flood(web, 2)
	f.says(slack, web.name+" on vm-17: r3 is deployed")
	f.noticed("slack", "deployment/2", "invalid_blocks")
	if got := about(slack, 2); len(got) != 0 {
		t.Errorf("got %v, want what was refused not there", got)
	}
}

// A channel that does not exist is said where people look, with what to do. What
// happened meanwhile is told when the config is mended, and no restart is needed.
func TestWrongChannelIsMendedWithoutLoss(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	right := f.top
	f.top = strings.Replace(f.top, "deploys", "deplois", 1)
	f.push("v1", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "v1"))
	f.begin()
	web.next(agent.StateSucceeded)
	flood(web, 1)
	f.noticed("slack", "channel_not_found", `slack.channel is "deplois"`, "messages wait")
	f.top = right
	f.configure()
	f.once(slack, 1, web.seen)
	f.noticed()

	slack.Change(func(o *testbed.SlackOptions) { o.Token = "xoxb-333333333333-444444444444-anotherToken" })
	flood(web, 2)
	f.noticed("slack", "invalid_auth", f.path("token"))
	f.put("token", slack.Options().Token)
	f.once(slack, 1, web.seen)
	f.noticed()
}

// A registry that cannot be asked for many intervals is one message, whatever the
// number of polls and services; and so is its end, also when the agent was
// restarted in between.
func TestField18RegistryAwayIsOneTrouble(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	f.push("stable", "v1", testbed.Good)
	for _, name := range []string{"web", "api"} {
		f.unit(name).compose(f.bed.Ref("app", "stable"))
	}
	f.begin()
	for _, u := range f.units {
		u.next(agent.StateSucceeded)
	}
	down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	troubles := func(words ...string) int {
		n := 0
		for _, m := range slack.Messages() {
			if len(lacking(m.Render(), append(words, "registry "+f.bed.Registry.Host))) == 0 {
				n++
			}
		}
		return n
	}

	f.bed.Registry.Intercept(down)
	f.says(slack, "registry "+f.bed.Registry.Host+" does not work", f.units[1].name+", "+f.units[0].name, "503", "vm-17")
	f.bed.Registry.Forget()
	testbed.Eventually(t, 30*time.Second, func() error {
		if got := len(f.bed.Registry.Requests()); got < 2 {
			return fmt.Errorf("got %d requests, want it asked again", got)
		}
		return nil
	})
	f.stop()
	f.resume()
	for _, u := range f.units {
		u.status(func(s agent.Status) error {
			if !strings.Contains(fmt.Sprint(s.Warnings), f.bed.Registry.Host) {
				return fmt.Errorf("%s: got %q, want the registry named", u.name, s.Warnings)
			}
			return nil
		})
	}
	f.bed.Registry.Intercept(nil)
	f.says(slack, "registry "+f.bed.Registry.Host+" works again")
	if got := troubles(); got != 1 {
		t.Errorf("got %d messages about the registry, want one that is kept up to date", got)
	}
	f.push("stable", "v2", testbed.Good)
	for _, u := range f.units {
		u.next(agent.StateSucceeded)
	}
}
