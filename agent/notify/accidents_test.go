package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

// An adoption is no news, but people who were asked about it hear how it ended, and
// are not reminded of it for ever.
func TestEndOfAHeldAdoptionIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.deploy(agent.KindAdopt, agent.StateVerifying, agent.StateHeld, agent.StateSucceeded)
		pass(72 * time.Hour)
		o.want("asked, and no reminder", "deployment/1")
		if got := o.people.title("deployment/1"); !strings.Contains(got, "deployed") {
			t.Errorf("got %q, want its end", got)
		}
	})
}

// A medium that is away for a day does not lose what the history forgets meanwhile.
func TestDeploymentIsForgottenBeforeItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.people.fail(func(Message) error { return errors.New("connection refused") })
		for range 3 {
			o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRolledBack)...)
		}
		if err := o.store.Prune("web", 1, nil); err != nil {
			t.Fatal(err)
		}
		o.people.fail(nil)
		pass(pauseLongest)
		o.want("all three", "deployment/1", "deployment/2", "deployment/3")
		got := o.people.shown["deployment/1 on vm-1"]
		if got.Title != "web on vm-1: deployment 1 is rolled back" || got.Why != "it is rolled_back" || got.Open {
			t.Errorf("got %+v, want what its last event says", got)
		}
		if tr := o.n.Trouble(); len(tr.Refused) > 0 {
			t.Errorf("got %q set aside, want nothing", tr.Refused)
		}
	})
}

// Reminders that could not be sent in time do not come all at once.
func TestRemindersAreNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.record(agent.Entry{Service: &agent.ServiceRecord{Name: "web", Critical: true}, Event: &agent.Event{Kind: agent.EventAgent}})
		o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRollbackFailed)...)
		o.stop()
		pass(10 * 24 * time.Hour)
		o.begin()
		pass(2 * time.Hour)
		o.want("one after ten days", "deployment/1", "deployment/1/reminder 1")
		pass(23 * time.Hour)
		if got := len(o.people.seen()); got != 3 {
			t.Errorf("got %d messages, want the next reminder a day later", got)
		}
	})
}

// Two failed rollbacks of one service are one thing to be reminded of.
func TestOnlyTheLastFailedRollbackIsRemindedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.record(agent.Entry{Service: &agent.ServiceRecord{Name: "web", Critical: true}, Event: &agent.Event{Kind: agent.EventAgent}})
		for range 2 {
			o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRollbackFailed)...)
		}
		pass(2 * time.Hour)
		o.want("one reminder", "deployment/1", "deployment/2", "deployment/2/reminder 1")
	})
}

// Only troubles repeat: another thing that waits is another thing.
func TestWhatWaitsIsNoRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		for n := range 3 {
			o.event(agent.Event{Kind: agent.EventSkipped, Service: "web", Reason: agent.ReasonNotify, Message: fmt.Sprint("image ", n)})
			pass(2 * time.Hour)
			for _, f := range o.people.shown["waiting/web on vm-1"].Facts {
				if f.Name == "Again" {
					t.Errorf("got %q, want the image told as new", f.Value)
				}
			}
		}
	})
}

// A restart moves no deployment: whoever was asked is not asked again.
func TestRestartIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		id := o.deploy(agent.KindDeploy, append(forward, agent.StateHeld)...)
		o.event(agent.Event{
			Kind: agent.EventTransition, Service: "web", Deployment: id, From: agent.StateHeld, To: agent.StateHeld, Reason: agent.ReasonResumed,
		})
		o.want("asked once", "deployment/1")
	})
}

// What was told before people were left alone is not gone on with when they are not
// any more: its end may have come meanwhile.
func TestNothingIsGoneOnWithAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.event(agent.Event{Kind: agent.EventTrouble, Subject: "registry r", Severity: agent.SeverityWarning})
		o.people.fail(func(Message) error { return errors.New("connection refused") })
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		o.n.Use(Settings{})
		o.event(agent.Event{Kind: agent.EventMended, Subject: "registry r"})
		pass(30 * 24 * time.Hour)
		o.people.fail(nil)
		o.n.Use(Settings{Sender: o.people, On: usual, Host: "vm-1"})
		pass(30 * 24 * time.Hour)
		o.want("what was told before", "trouble/registry r")
	})
}

// A process that is killed while nobody is to be told leaves at most an hour to be
// told by the next one.
func TestKilledWhileNobodyIsToBeTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.n.Use(Settings{})
		for range 100 {
			o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
			pass(time.Hour)
		}
		o.n.store = deaf{o.store} // killed: it writes nothing any more
		o.stop()
		o.begin()
		if got := len(o.people.seen()); got > 1 {
			t.Errorf("got %d messages about what was before, want one at most", got)
		}
	})
}

// A disk that is full between a message and its mark is no reason to send the message
// again every minute.
func TestFullDiskRepeatsNothing(t *testing.T) {
	for _, kind := range []agent.EventKind{agent.EventTrouble, agent.EventRecovered} {
		synctest.Test(t, func(t *testing.T) {
			store, p := newLedger(), &people{shown: map[string]Message{}}
			p.fail(func(Message) error { return errors.New("connection refused") })
			stop := atWork(t, store, p)
			store.record(agent.Event{Kind: kind, Service: "web", Subject: "registry r"})
			pass(time.Minute)
			store.fill(true)
			p.fail(nil)
			pass(30 * time.Minute)
			if got := p.seen(); len(got) != 1 {
				t.Errorf("got %q while the disk was full, want it once", got)
			}
			store.fill(false)
			pass(2 * time.Minute)
			stop()
			stop = atWork(t, store, p)
			pass(10 * time.Minute)
			stop()
			if got := p.seen(); len(got) != 1 {
				t.Errorf("got %q, want it noted once there was room", got)
			}
		})
	}
}

// A clock that was ahead delays nothing once it is right.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, p := newLedger(), &people{shown: map[string]Message{}}
		ahead := time.Now().Add(30 * 24 * time.Hour)
		store.events = []agent.Event{{Seq: 1, At: ahead, Kind: agent.EventTrouble, Subject: "registry r"}}
		store.outbox["trouble/config"] = agent.Delivery{
			Key: "trouble/config", Since: ahead, SentAt: ahead, Sent: 1, Event: agent.Event{Seq: 1, At: ahead, Kind: agent.EventMended, Subject: "config"},
		}
		stop := atWork(t, store, p)
		defer func() { stop() }()
		store.record(agent.Event{Kind: agent.EventTrouble, Subject: "config"})
		pass(time.Second)
		if got := p.seen(); len(got) != 2 {
			t.Errorf("got %q, want both troubles at once", got)
		}
	})
}

// A medium that refuses a message answers.
func TestRefusalEndsTheTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.people.fail(func(Message) error { return errors.New("connection refused") })
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		o.people.fail(func(Message) error { return &RefusedError{Reason: "invalid_blocks"} })
		pass(time.Minute)
		if tr := o.n.Trouble(); tr.Error != "" || len(tr.Refused) != 1 {
			t.Errorf("got %+v, want a message set aside and a medium that works", tr)
		}
	})
}

// A flood ends when somebody turns it off.
func TestFloodIsTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.people.fail(func(Message) error { return errors.New("connection refused") })
		for range 20 {
			o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		}
		o.people.arrived = func() { o.n.Use(Settings{}) }
		o.people.fail(nil) // under the lock: only then is the other read
		pass(time.Hour)
		if got := o.people.seen(); len(got) != 1 {
			t.Errorf("got %d messages, want none after the first", len(got))
		}
	})
}

func TestWhatIsTakenOutOfTheConfigIsNotMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.event(agent.Event{Kind: agent.EventInvalid, Service: "web", Message: "no such file"})
		o.event(agent.Event{Kind: agent.EventValid, Service: "web", Reason: agent.ReasonConfig, Message: "it was taken out of the config"})
		if got := o.people.title("invalid/web"); got != "vm-1: web is not the agent's business any more" {
			t.Errorf("got %q, want it to say that it is gone", got)
		}
	})
}
