package daemon_test

import (
	"fmt"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

// Three services share one image: the registry is asked once per interval, by
// HEAD, and a push deploys all of them by itself.
func TestField18PushedImageIsDeployedByItself(t *testing.T) {
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	for _, name := range []string{"web", "api", "jobs"} {
		f.unit(name).compose(f.bed.Ref("app", "stable"))
	}
	f.begin()
	for _, u := range f.units {
		u.next(agent.StateSucceeded)
	}
	f.polls(1) // from one poll on
	began := time.Now()
	f.polls(6)
	if took := time.Since(began); took < 5*poll || took > 8*poll {
		t.Errorf("got 6 questions in %s, want one per interval of %s for three services", took, poll)
	}

	pushed := time.Now()
	f.push("stable", "v2", testbed.Good)
	for _, u := range f.units {
		d := u.next(agent.StateSucceeded)
		u.serves("v2")
		took := d.StartedAt.Sub(pushed)
		t.Logf("%s: deployment began %s after the push", u.name, took)
		if took > poll+3*time.Second || d.Reason == "" || d.Actor != "agent (registry)" {
			t.Errorf("got deployment %d by %s after %s, want it by the registry's news within %s", d.ID, d.Actor, took, poll+time.Second)
		}
	}
	for _, u := range f.units {
		u.still()
	}
}

// What was rolled back stays away, whatever restarts and however often the tag is
// looked at; what comes next deploys by itself.
func TestField06BadPushStaysInQuarantine(t *testing.T) {
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded)

	bad := f.push("stable", "v2", testbed.Crash)
	d := web.next(agent.StateRolledBack)
	web.serves("v1")
	if d.Reason != agent.ReasonCrash || d.Serving != agent.ServingOld || d.Artifacts[0].Digest != bad {
		t.Errorf("got %s, serving %s, of %s, want the crash of %s", d.Reason, d.Serving, d.Artifacts[0].Digest, bad)
	}
	web.planned(agent.ReasonQuarantined)

	f.stop()
	f.resume()
	web.planned(agent.ReasonQuarantined)
	f.polls(6)
	web.still()
	web.serves("v1")

	f.push("stable", "v3", testbed.Good)
	web.next(agent.StateSucceeded)
	web.serves("v3")

	if again := f.push("stable", "v2", testbed.Crash); again != bad {
		t.Fatalf("got %s, want the same image as before: %s", again, bad)
	}
	web.planned(agent.ReasonQuarantined)
	f.polls(2)
	web.still()
	web.serves("v3")
}

// Two projects run one tag, which is one name on the host: a bad push is rolled
// back in both, and neither takes the image from the other.
func TestTwoProjectsShareATag(t *testing.T) {
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	for _, name := range []string{"left", "right"} {
		f.unit(name).compose(f.bed.Ref("app", "stable"))
	}
	f.begin()
	both := func(state agent.State, version string, failure agent.Reason) {
		t.Helper()
		for _, u := range f.units {
			d := u.next(state)
			if d.Service != u.name || failure != "" && d.Reason != failure {
				t.Errorf("got deployment %d of %s: %s (%s), want %s of %s", d.ID, d.Service, d.State, d.Reason, failure, u.name)
			}
		}
		for _, u := range f.units {
			u.serves(version)
			u.still()
		}
	}
	both(agent.StateSucceeded, "v1", "")
	f.push("stable", "v2", testbed.Sick)
	both(agent.StateRolledBack, "v1", agent.ReasonHealthDeadline)
	f.push("stable", "v3", testbed.Good)
	both(agent.StateSucceeded, "v3", "")
	for _, u := range f.units {
		list, err := f.client.Deployments(t.Context(), agent.HistoryFilter{Service: u.name, Limit: 100})
		if err != nil || len(list) != 3 {
			t.Errorf("got %d deployments of %s, %v, want 3 of its own", len(list), u.name, err)
		}
	}
}

// mode = "notify" tells and waits for a human.
func TestNotifyWaitsForAHuman(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web", `mode = "notify"`)
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded) // what never ran is no change

	digest := f.push("stable", "v2", testbed.Good)
	web.planned(agent.ReasonNotify)
	f.says(slack, web.name+" on vm-17: something new waits", short("stable", digest), "agent deploy "+web.name)
	f.event(func(e agent.Event) bool {
		return e.Kind == agent.EventSkipped && e.Reason == agent.ReasonNotify && e.Service == web.name
	})
	f.polls(3)
	web.still()
	web.serves("v1")

	web.order(agent.Order{Verb: agent.VerbDeploy})
	web.next(agent.StateSucceeded)
	web.serves("v2")
}

// A delay begins anew with every digest, and goes on over a restart of the agent.
func TestDelayBeginsAnewWithTheDigest(t *testing.T) {
	const delay = 5 * time.Second
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web", fmt.Sprintf("delay = %q", delay))
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded) // what never ran is no change

	f.push("stable", "v2", testbed.Good)
	web.planned(agent.ReasonDelayed)
	f.polls(2)
	pushed := time.Now()
	digest := f.push("stable", "v3", testbed.Good)
	f.polls(2)
	web.planned(agent.ReasonDelayed)
	f.stop()
	f.resume()
	d := web.next(agent.StateSucceeded)
	web.serves("v3")
	if waited := d.StartedAt.Sub(pushed); waited < delay || waited > delay+poll+3*time.Second || d.Artifacts[0].Digest != digest {
		t.Errorf("got %s deployed after %s, want %s after %s", d.Artifacts[0].Digest, waited, digest, delay)
	}
}

// A pause that has an end deploys what came meanwhile when it is over.
func TestPauseEndsByItself(t *testing.T) {
	const pause = 5 * time.Second
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded)

	paused := time.Now()
	web.order(agent.Order{Verb: agent.VerbPause, For: pause})
	f.push("stable", "v2", testbed.Good)
	web.planned(agent.ReasonPaused)
	f.polls(2)
	web.still()
	d := web.next(agent.StateSucceeded)
	web.serves("v2")
	if waited := d.StartedAt.Sub(paused); waited < pause || waited > pause+3*time.Second {
		t.Errorf("got it deployed %s after the pause began, want it at its end after %s", waited, pause)
	}
}

// A human's image serves instead of the file's, over a restart and over pushes to
// the file's own tag, until the human gives it back.
func TestOverrideHoldsUntilItIsGivenBack(t *testing.T) {
	f := newFleet(t)
	f.push("stable", "v1", testbed.Good)
	f.push("hotfix", "v1-fix", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded)

	web.order(agent.Order{Verb: agent.VerbDeploy, Images: map[string]string{"": f.bed.Ref("app", "hotfix")}})
	web.next(agent.StateSucceeded)
	web.serves("v1-fix")
	overridden := func(s agent.Status) error {
		if o := s.Overrides["web"]; o.Ref != f.bed.Ref("app", "hotfix") || o.FileRef != f.bed.Ref("app", "stable") || o.By == "" {
			return fmt.Errorf("got overrides %+v, want the human's", s.Overrides)
		}
		return nil
	}
	web.status(overridden)
	f.stop()
	f.resume()
	web.status(overridden)
	f.push("stable", "v2", testbed.Good)
	f.polls(3)
	web.still()
	web.serves("v1-fix")

	f.push("hotfix", "v1-fix2", testbed.Good) // the override's own tag is watched
	web.next(agent.StateSucceeded)
	web.serves("v1-fix2")

	web.order(agent.Order{Verb: agent.VerbDeploy, NoOverride: true})
	web.next(agent.StateSucceeded)
	web.serves("v2")
	web.status(func(s agent.Status) error {
		if len(s.Overrides) > 0 {
			return fmt.Errorf("got %+v, want none", s.Overrides)
		}
		return nil
	})
}

// An image that says that it cannot be undone is held when it fails, and people
// are asked. Whatever they answer is done.
func TestField24IrreversibleImageIsHeld(t *testing.T) {
	f := newFleet(t)
	slack := f.workspace()
	f.push("stable", "v1", testbed.Good)
	web := f.unit("web")
	web.compose(f.bed.Ref("app", "stable"))
	f.begin()
	web.next(agent.StateSucceeded)

	migration := testbed.Label("rollback-agent.irreversible", "true")
	f.push("stable", "v2", testbed.Sick, migration)
	held := web.in(agent.StateHeld)
	web.serves("v2")
	f.says(slack, "held (", "decide", fmt.Sprintf("agent keep %d", held.ID), "agent rollback "+web.name, "a human decides", "HTTP 500")
	web.order(agent.Order{Verb: agent.VerbKeep, Deployment: held.ID})
	if d := web.next(agent.StateSucceeded); d.Reason != agent.ReasonKept || d.Serving != agent.ServingNew {
		t.Errorf("got %s, serving %s, want it kept", d.Reason, d.Serving)
	}

	f.push("stable", "v3", testbed.Sick, migration)
	held = web.in(agent.StateHeld)
	web.order(agent.Order{Verb: agent.VerbRollback})
	if d := web.next(agent.StateRolledBack); d.ID != held.ID || d.Reason != agent.ReasonAborted {
		t.Errorf("got deployment %d (%s), want %d rolled back by a human", d.ID, d.Reason, held.ID)
	}
	web.serves("v1")
	f.says(slack, "rolled back (", short("stable", held.Artifacts[0].Digest))
}
