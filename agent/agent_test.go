package agent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"rollback-agent/agent"
)

func TestTransitionsLeadToAnEnd(t *testing.T) {
	table := agent.Transitions()
	for from, nexts := range table {
		for _, next := range nexts {
			if _, known := table[next]; !known {
				t.Errorf("%s leads to %s, which the table does not know", from, next)
			}
			if !from.May(next) || from.Ended() {
				t.Errorf("got May %t, Ended %t of %s to %s, want a legal move from an open state", from.May(next), from.Ended(), from, next)
			}
		}
		if !reaches(table, from, map[agent.State]bool{}) {
			t.Errorf("no end can be reached from %s", from)
		}
	}
	if !agent.State("gibberish").Ended() {
		t.Error("got an open unknown state, want it to read as over")
	}
	if (agent.Deployment{State: "gibberish"}).Failed() != true {
		t.Error("got success, want an unwritten outcome to read as failed")
	}
}

func reaches(table map[agent.State][]agent.State, from agent.State, seen map[agent.State]bool) bool {
	if from.Ended() {
		return true
	}
	seen[from] = true
	for _, next := range table[from] {
		if !seen[next] && reaches(table, next, seen) {
			return true
		}
	}
	return false
}

func TestFingerprint(t *testing.T) {
	a := agent.Artifact{Name: "a", Ref: "x:1", Digest: "sha256:1"}
	b := agent.Artifact{Name: "b", Ref: "y:1", Digest: "sha256:2"}
	one := agent.Fingerprint([]agent.Artifact{a, b}, "c")
	if got := agent.Fingerprint([]agent.Artifact{b, a}, "c"); got != one {
		t.Errorf("got %s, want order not to count", got)
	}
	learned := a
	learned.Local, learned.Config, learned.Ref = "image", "hash", "x:2"
	if got := agent.Fingerprint([]agent.Artifact{learned, b}, "c"); got != one {
		t.Errorf("got %s, want what is learned later not to count", got)
	}
	for name, other := range map[string]string{
		"config":     agent.Fingerprint([]agent.Artifact{a, b}, "d"),
		"digest":     agent.Fingerprint([]agent.Artifact{a, a}, "c"),
		"unresolved": agent.Fingerprint([]agent.Artifact{{Name: "a", Ref: "x:1"}, b}, "c"),
	} {
		if other == one {
			t.Errorf("got the same fingerprint for another %s", name)
		}
	}
	const pinned = "1:356584aa50a3bc21436da396ad555537eb022c3908bc81ea3ddfa9473036348e" // an upgrade of the agent must not change it
	if one != pinned {
		t.Errorf("got %s, want %s", one, pinned)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	s := agent.Secret("hunter22")
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s", s, s, s, s), fmt.Sprintf("%+v", agent.Health{Headers: map[string]agent.Secret{"A": s}})} {
		if strings.Contains(text, "hunter22") {
			t.Errorf("got %q, want it hidden", text)
		}
	}
	stored, err := json.Marshal(s)
	if err != nil || !strings.Contains(string(stored), "hunter22") {
		t.Errorf("got %s, %v, want the record to keep it", stored, err)
	}
}

func TestErrorsCarryHintsAndPermanence(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", agent.Permanent(agent.WithHint(cause, "do this")))
	if !errors.Is(err, cause) || agent.Hint(err) != "do this" || !agent.IsPermanent(err) {
		t.Errorf("got hint %q, permanent %t, want both through wrapping", agent.Hint(err), agent.IsPermanent(err))
	}
	if agent.Permanent(nil) != nil || agent.WithHint(nil, "x") != nil {
		t.Error("got an error from none")
	}
}

func TestServes(t *testing.T) {
	rel := func(digest string) *agent.Release {
		return &agent.Release{Artifacts: []agent.Artifact{{Name: "web", Digest: digest, Config: "c", Count: 2}}}
	}
	runs := func(digests ...string) agent.Running {
		var r agent.Running
		for n, d := range digests {
			r.Instances = append(r.Instances, agent.Instance{ID: fmt.Sprint(n), Artifact: "web", Local: d, Config: "c", Phase: agent.PhaseRunning})
		}
		return r
	}
	stopped := runs("new", "new")
	stopped.Instances[0].Phase, stopped.Instances[1].Phase = agent.PhaseExited, agent.PhaseExited
	for name, c := range map[string]struct {
		running agent.Running
		want    agent.Serving
	}{
		"new":     {runs("new", "new"), agent.ServingNew},
		"old":     {runs("old", "old"), agent.ServingOld},
		"mixed":   {runs("new", "old"), agent.ServingMixed},
		"half":    {runs("new"), agent.ServingMixed},
		"other":   {runs("new", "else"), agent.ServingOther},
		"nothing": {runs(), agent.ServingNone},
		"stopped": {stopped, agent.ServingNone},
	} {
		if got := c.running.Serves(rel("new"), rel("old")); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestArtifactIsNamedShortly(t *testing.T) {
	for want, a := range map[string]agent.Artifact{
		"web:1.4@0123456789ab": {Ref: "registry:5000/acme/web:1.4", Digest: "sha256:0123456789abcdef"},
		"web:1.4":              {Ref: "web:1.4"},
		"web@0123456789ab":     {Ref: "acme/web@sha256:0123456789abcdef", Digest: "sha256:0123456789abcdef"},
	} {
		if got := a.Short(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
