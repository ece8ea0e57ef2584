package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// start runs the real binary. The returned function ends it with a signal and waits.
func (f *fleet) start() func(syscall.Signal) {
	f.t.Helper()
	cmd := exec.Command(agentBinary(f.t), "run", "--config", f.path("config.toml"))
	cmd.Stdout, cmd.Stderr = f.log, f.log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	ended := false
	end := func(signal syscall.Signal) {
		f.t.Helper()
		if ended {
			return
		}
		ended = true
		err := errors.Join(cmd.Process.Signal(signal), cmd.Wait())
		if signal == syscall.SIGTERM && err != nil {
			f.t.Errorf("got %v, want the agent to end in order", err)
		}
	}
	f.t.Cleanup(func() { end(syscall.SIGKILL) })
	return end
}

// An agent that is killed in mid-deployment says so when it is back, once; the
// deployment ends, and its message is neither lost nor doubled. An orderly stop is
// nobody's news.
func TestField03KilledInMidDeploymentIsTold(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.configure()
	down := func() (found []string) {
		for _, m := range slack.Messages() {
			if text := m.Render(); strings.Contains(text, "nothing was watched") {
				found = append(found, text)
			}
		}
		return found
	}

	end := f.start()
	web.next(agent.StateSucceeded)
	f.push("stable", "v2", testbed.Sick)
	killed := web.in(agent.StateVerifying)
	f.says(slack, web.name+" on vm-17: deploying r2")
	end(syscall.SIGKILL)
	at := time.Now().Add(-time.Hour) // it was down for an hour
	if err := os.Chtimes(f.path("state/alive"), at, at); err != nil {
		t.Fatal(err)
	}

	end = f.start()
	web.next(agent.StateRolledBack)
	web.serves("v1")
	f.says(slack, "nothing was watched for a while", "the agent was down "+at.Local().Format("15:04")+"–", "vm-17")
	f.says(slack, web.name+" on vm-17: rolled back (")
	end(syscall.SIGTERM)

	end = f.start()
	f.push("stable", "v3", testbed.Good)
	last := web.next(agent.StateSucceeded)
	f.says(slack, web.name+" on vm-17: r4 is deployed")
	end(syscall.SIGTERM)
	if found := down(); len(found) != 1 {
		t.Errorf("got %d messages that the agent was down, want one: %s", len(found), strings.Join(found, "\n"))
	}
	for id := int64(1); id <= last.ID; id++ {
		if got := about(slack, id); len(got) != 1 {
			t.Errorf("got %d messages about deployment %d (%d was killed), want one", len(got), id, killed.ID)
		}
	}
	if got := len(slack.Messages()); int64(got) != last.ID+1 {
		t.Errorf("got %d messages, want one for each deployment and one for the time that nothing was watched", got)
	}
}

// The secrets of a deployment are known to the process that goes on with it, also
// when the files say something else by now.
func TestNoSecretLeavesAfterARestart(t *testing.T) {
	const secret = "pl4nted-before-the-restart"
	f := newFleet(t)
	slack := f.workspace()
	f.push("stable", "v1", testbed.Good, testbed.Env("APP_PRINTS", "API_KEY"))
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded)

	web.compose(f.bed.Ref("app", "stable"), fmt.Sprintf(`environment: {APP_MODE: sick, API_KEY: %s}`, secret))
	open := web.in(agent.StateVerifying)
	f.stop()
	web.compose(f.bed.Ref("app", "nowhere"))
	f.resume()
	web.seen = open.ID
	web.next(agent.StateFailed) // what the files say now
	d, err := f.client.Deployment(t.Context(), open.ID)
	if err != nil || d.State != agent.StateRolledBack || d.Counters.Resumed != 1 {
		t.Fatalf("got deployment %d %s, %v, want it rolled back after a restart", d.ID, d.State, err)
	}
	text := fmt.Sprintf("%+v", d)
	if strings.Contains(text, secret) || !strings.Contains(text, "API_KEY is •••") {
		t.Errorf("got %s, want what the app printed without the secret", text)
	}
	f.says(slack, web.name+" on vm-17: rolled back (", "API_KEY is •••")
	for _, request := range slack.Requests() {
		planted{"secret": secret}.search(t, "slack", request.Body)
	}
	planted{"secret": secret}.search(t, "log", []byte(f.log.String()))
	planted{"secret": secret}.search(t, "events", f.raw("/v1/events?last=1000"))
}
