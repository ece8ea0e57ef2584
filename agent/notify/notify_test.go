package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/history"
)

// people is a medium that shows what people see: one line for each message, in its
// newest version.
type people struct {
	mu      sync.Mutex
	updates bool
	answer  func(m Message) error // nil: accepted
	posts   []string              // keys, in the order of their first version
	shown   map[string]Message
	sends   int
	arrived func() // called when a message has arrived, before it is answered
}

func (p *people) Updates() bool { return p.updates }

func (p *people) Send(ctx context.Context, m Message, earlier Attempt) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sends++
	if p.answer != nil {
		if err := p.answer(m); err != nil {
			return "", err
		}
	}
	_, known := p.shown[m.Key]
	switch {
	case p.updates && earlier.Ref != "" && !known:
		return "", fmt.Errorf("no message %s to update", earlier.Ref)
	case !known || !p.updates || earlier.Ref == "" && !earlier.Unsure:
		p.posts = append(p.posts, m.Key)
	}
	p.shown[m.Key] = m
	if p.arrived != nil {
		p.arrived()
	}
	return "ref of " + m.Key, ctx.Err()
}

func (p *people) fail(answer func(Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *people) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := make([]string, len(p.posts))
	for i, key := range p.posts {
		lines[i] = strings.TrimSuffix(key, " on vm-1")
	}
	return lines
}

func (p *people) title(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown[key+" on vm-1"].Title
}

// all occasions but successes: the default of the config.
var usual = []Occasion{OnHeld, OnRolledBack, OnRollbackFailed, OnFailed, OnRecovered, OnTrouble, OnWaiting}

// office is a notifier at work on a real store.
type office struct {
	t      *testing.T
	store  *history.Store
	people *people
	n      *Notifier
	stop   func()
}

func newOffice(t *testing.T, updates bool) *office {
	t.Helper()
	store, err := history.Open(filepath.Join(t.TempDir(), "history.db"), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, store: store, people: &people{updates: updates, shown: map[string]Message{}}}
	o.begin()
	t.Cleanup(func() {
		o.stop()
		store.Close()
	})
	return o
}

func (o *office) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	o.n = New(slog.New(slog.DiscardHandler), o.store, Settings{Sender: o.people, On: usual, Host: "vm-1"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.n.Run(ctx); err != nil {
			o.t.Error(err)
		}
	}()
	o.stop = func() { cancel(); <-done }
	synctest.Wait()
}

func (o *office) record(e agent.Entry) agent.Entry {
	o.t.Helper()
	if e.Event.At.IsZero() {
		e.Event.At = time.Now()
	}
	written, err := o.store.Record(e)
	if err != nil {
		o.t.Fatal(err)
	}
	return written
}

func (o *office) event(e agent.Event) {
	o.t.Helper()
	o.record(agent.Entry{Event: &e})
	synctest.Wait()
}

// deploy records a deployment that takes these states.
func (o *office) deploy(kind agent.DeploymentKind, states ...agent.State) int64 {
	o.t.Helper()
	dep := agent.Deployment{Service: "web", Kind: kind, State: agent.StateQueued, Actor: "root", StartedAt: time.Now()}
	for _, s := range states {
		dep = o.move(dep, s)
	}
	return dep.ID
}

func (o *office) move(dep agent.Deployment, to agent.State) agent.Deployment {
	o.t.Helper()
	from := dep.State
	dep.State, dep.Message = to, "it is "+string(to)
	if to.Ended() {
		dep.EndedAt = time.Now()
	}
	written := o.record(agent.Entry{Deployment: &dep, Event: &agent.Event{Kind: agent.EventTransition, Service: "web", From: from, To: to, Message: dep.Message}})
	synctest.Wait()
	return *written.Deployment
}

func (o *office) want(what string, want ...string) {
	o.t.Helper()
	synctest.Wait()
	got := o.people.seen()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		o.t.Errorf("%s: got messages %q, want %q", what, got, want)
	}
}

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

var forward = []agent.State{agent.StateFetching, agent.StateApplying, agent.StateVerifying}

func TestWhatIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.deploy(agent.KindDeploy, append(forward, agent.StateWatching, agent.StateSucceeded)...)
		o.deploy(agent.KindAdopt, agent.StateVerifying, agent.StateWatching, agent.StateSucceeded)
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateSuperseded)
		o.want("nothing went wrong")
		o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRolledBack)...)
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		o.deploy(agent.KindRollback, append(forward, agent.StateWatching, agent.StateSucceeded)...)
		o.want("three that people asked about", "deployment/4", "deployment/5", "deployment/6")
		if got := o.people.title("deployment/6"); !strings.Contains(got, "by hand") {
			t.Errorf("got %q, want a human's rollback named so", got)
		}
	})
}

// With a webhook people who were asked to decide hear how it ended, whatever it is.
func TestEndOfAHoldIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.deploy(agent.KindDeploy, append(forward, agent.StateHeld, agent.StateSucceeded)...)
		o.want("asked and answered", "deployment/1", "deployment/1")
	})
}

func TestOneMessageForEachDeploymentWhereItCanBeEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.deploy(agent.KindAdopt, agent.StateVerifying, agent.StateWatching, agent.StateSucceeded)
		o.want("an adoption is no news")
		dep := agent.Deployment{Service: "web", Kind: agent.KindDeploy, State: agent.StateQueued, StartedAt: time.Now()}
		dep = o.move(dep, agent.StateFetching)
		o.want("nothing is changed yet")
		dep = o.move(dep, agent.StateApplying)
		o.want("it begins", "deployment/2")
		dep = o.move(dep, agent.StateVerifying)
		dep = o.move(dep, agent.StateWatching)
		pass(editPause)
		if got := o.people.title("deployment/2"); !strings.Contains(got, "watching") {
			t.Errorf("got %q, want the message brought up to date", got)
		}
		o.move(dep, agent.StateSucceeded)
		o.want("still one", "deployment/2")
		if got := o.people.title("deployment/2"); !strings.Contains(got, "deployed") {
			t.Errorf("got %q, want its end", got)
		}
	})
}

// FIELD row 23: notifications lost, or a storm of them.
func TestField23AnHourWithoutSlack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.people.fail(func(Message) error { return errors.New("connection refused") })
		var want []string
		for range 10 {
			id := o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRolledBack)...)
			want = append(want, fmt.Sprintf("deployment/%d", id))
			pass(6 * time.Minute)
			if id == 5 { // the agent is restarted meanwhile
				o.stop()
				o.begin()
			}
		}
		if tr := o.n.Trouble(); tr.Waiting != 10 || !strings.Contains(tr.Error, "refused") {
			t.Errorf("got %+v, want ten messages that wait", tr)
		}
		o.people.fail(nil)
		pass(pauseLongest)
		o.want("one for each, in its latest state", want...)
		if got := o.people.title("deployment/10"); !strings.Contains(got, "rolled back") {
			t.Errorf("got %q, want the latest state", got)
		}
		if tr := o.n.Trouble(); tr.Waiting != 0 || tr.Error != "" {
			t.Errorf("got %+v, want no trouble", tr)
		}
		sends := o.people.sends
		pass(48 * time.Hour)
		if o.people.sends != sends {
			t.Errorf("got %d more messages, want none", o.people.sends-sends)
		}
	})
}

func TestTroubleIsToldOnceThenHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		bad := agent.Event{Kind: agent.EventTrouble, Subject: "registry r", Message: "no answer", Severity: agent.SeverityWarning}
		good := agent.Event{Kind: agent.EventMended, Subject: "registry r", Message: "answers"}
		for range 50 {
			o.event(bad)
			pass(time.Minute)
		}
		o.want("fifty times within an hour", "trouble/registry r")
		pass(10 * time.Minute)
		if o.people.sends != 2 {
			t.Errorf("got %d versions, want a second one after an hour", o.people.sends)
		}
		o.event(good)
		if got := o.people.title("trouble/registry r"); !strings.Contains(got, "works again") || o.people.sends != 3 {
			t.Errorf("got %q in %d versions, want its end at once", got, o.people.sends)
		}
		for range 10 { // it flaps
			o.event(bad)
			pass(time.Minute)
			o.event(good)
			pass(time.Minute)
		}
		pass(3 * time.Hour)
		if o.people.sends != 3 {
			t.Errorf("got %d versions, want what came and went within the hour untold", o.people.sends)
		}
	})
}

func TestRemindersGoOnUntilItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.record(agent.Entry{Service: &agent.ServiceRecord{Name: "web", Critical: true}, Event: &agent.Event{Kind: agent.EventAgent}})
		o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRollbackFailed)...)
		pass(73 * time.Hour)
		o.want("after an hour, six, a day, two, three", "deployment/1",
			"deployment/1/reminder 1", "deployment/1/reminder 2", "deployment/1/reminder 3", "deployment/1/reminder 4", "deployment/1/reminder 5")
		o.record(agent.Entry{Service: &agent.ServiceRecord{Name: "web"}, Event: &agent.Event{Kind: agent.EventRecovered, Service: "web"}})
		pass(72 * time.Hour)
		if got := o.people.seen(); len(got) != 7 || got[6] != "recovered/web" {
			t.Errorf("got %q, want its recovery and no more reminders", got)
		}
	})
}

func TestRefusedMessageBlocksNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.people.fail(func(m Message) error {
			switch {
			case strings.HasPrefix(m.Key, "deployment/1 "):
				return &RefusedError{Reason: "invalid_blocks"}
			case strings.HasPrefix(m.Key, "deployment/2 "):
				return errors.New("internal_error") // again and again
			}
			return nil
		})
		for range 3 {
			o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		}
		pass(time.Minute)
		o.want("the third goes through", "deployment/3")
		tr := o.n.Trouble()
		if len(tr.Refused) != 1 || !strings.Contains(tr.Refused[0], "deployment/1: refused: invalid_blocks") || tr.Waiting != 1 {
			t.Errorf("got %+v, want the first set aside and the second waiting", tr)
		}
	})
}

func TestWrongChannelIsMendedWithoutLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.people.fail(func(Message) error {
			return &RefusedError{Reason: "channel_not_found", Account: true, Hint: "invite the bot"}
		})
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		pass(24 * time.Hour)
		if tr := o.n.Trouble(); tr.Hint != "invite the bot" || tr.Waiting != 1 {
			t.Errorf("got %+v, want the hint and a message that waits", tr)
		}
		mended := &people{shown: map[string]Message{}}
		o.n.Use(Settings{Sender: mended, On: usual, Host: "vm-1"})
		synctest.Wait()
		if got := mended.seen(); len(got) != 1 {
			t.Errorf("got %q, want it told at once when the settings are", got)
		}
	})
}

func TestBusyMediumIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.people.fail(func(Message) error { return &BusyError{After: 10 * time.Minute} })
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		pass(9 * time.Minute)
		if o.people.sends != 1 {
			t.Errorf("got %d tries within its time, want 1", o.people.sends)
		}
		o.people.fail(nil)
		pass(time.Minute)
		o.want("after its time", "deployment/1")
	})
}

// A process that is killed between sending and marking repeats one message, or, where
// it can be found again, none.
func TestKilledBetweenSendingAndMarking(t *testing.T) {
	for _, updates := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice(t, updates)
			o.people.arrived = func() { o.people.arrived = nil; o.stop = sync.OnceFunc(o.stop); go o.stop(); panicStore(o) }
			o.deploy(agent.KindDeploy, append(forward, agent.StateRollingBack, agent.StateRolledBack)...)
			synctest.Wait()
			o.stop()
			o.n.store = o.store
			o.begin()
			pass(time.Hour)
			want := 2
			if updates {
				want = 1
			}
			if got := o.people.seen(); len(got) != want {
				t.Errorf("updates %t: got %q, want %d", updates, got, want)
			}
		})
	}
}

// panicStore lets nothing more be written by the present notifier.
func panicStore(o *office) { o.n.store = deaf{o.store} }

type deaf struct{ *history.Store }

func (deaf) PutOutbox(uint64, []agent.Delivery, []string) error { return errors.New("killed") }

func TestNobodyIsToldOfWhatWasBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, false)
		o.n.Use(Settings{})
		synctest.Wait()
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		o.n.Use(Settings{Sender: o.people, On: usual, Host: "vm-1"})
		o.want("nobody was to be told")
		o.deploy(agent.KindDeploy, agent.StateFetching, agent.StateFailed)
		o.want("now somebody is", "deployment/2")
	})
}
