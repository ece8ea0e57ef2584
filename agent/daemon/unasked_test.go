package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// A human who deploys while the registry wants to be left alone is told that it was
// not asked: "nothing to do" would be a lie.
func TestOrderSaysThatTheRegistryWasNotAsked(t *testing.T) {
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded)
	web.planned(agent.ReasonUnchanged)
	if r := web.order(agent.Order{Verb: agent.VerbDeploy}); r.Hint != "" {
		t.Errorf("got hint %q, want none while the registry answers", r.Hint)
	}

	f.bed.Registry.Intercept(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	web.order(agent.Order{Verb: agent.VerbDeploy}) // asks, and is refused
	r := web.order(agent.Order{Verb: agent.VerbDeploy})
	if !strings.Contains(r.Hint, f.bed.Registry.Host) || !strings.Contains(r.Hint, "left alone until") {
		t.Errorf("got %+v, want a hint that names the registry", r)
	}
}
