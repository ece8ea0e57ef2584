package daemon_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// login writes Docker's config with a login to the fleet's registry.
func (f *fleet) login(user, password string) {
	f.t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	f.put("docker/config.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, f.bed.Registry.Host, auth))
}

// A registry that wants a login gets the one of docker_config, from the agent and
// from the engine. A wrong one is explained, and mending the file is enough.
func TestLoginOfAPrivateRegistry(t *testing.T) {
	const user, password = "deployer", "correct-horse-1"
	f := newFleet(t, testbed.RegistryOptions{User: user, Password: password})
	f.top = fmt.Sprintf("[registry]\npoll_interval = %q\ndocker_config = %q\n", poll, f.path("docker/config.json"))
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	explained := func(s agent.Status) error {
		text := fmt.Sprintf("%s %s %s", s.Error, s.Hint, strings.Join(s.Warnings, " "))
		if missing := lacking(text, []string{f.path("docker/config.json"), "docker login " + f.bed.Registry.Host, "401"}); len(missing) > 0 {
			return fmt.Errorf("got %s, want %q in it", text, missing)
		}
		return nil
	}

	f.login(user, "wrong-horse-2")
	f.begin()
	if d := web.next(agent.StateFailed); d.Reason != agent.ReasonUnresolvable || !strings.Contains(d.Hint, "docker login") {
		t.Errorf("got %s: %s (%s), want it unresolvable, and what to do", d.Reason, d.Message, d.Hint)
	}
	web.status(explained)

	f.login(user, password)
	web.next(agent.StateSucceeded)
	web.serves("v1")
	web.status(func(s agent.Status) error {
		if s.Error != "" || s.Hint != "" || len(s.Warnings) > 0 {
			return fmt.Errorf("got %q, %q, %q, want nothing amiss any more", s.Error, s.Hint, s.Warnings)
		}
		return nil
	})
	f.push("stable", "v2", testbed.Good)
	web.next(agent.StateSucceeded)
	web.serves("v2")

	f.stop() // with a login that is wrong while it serves
	f.login(user, "wrong-horse-3")
	f.resume()
	web.status(explained)
	web.still()
	web.serves("v2")
	f.push("stable", "v3", testbed.Good)
	f.login(user, password)
	web.next(agent.StateSucceeded)
	web.serves("v3")
}
