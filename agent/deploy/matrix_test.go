package deploy_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

// perishing is the memory of a process that dies: what is written before that is
// written, and nothing after it.
type perishing struct {
	deploy.Recorder
	dead chan struct{}
}

func (p *perishing) perished() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

func (p *perishing) Record(entry agent.Entry) (agent.Entry, error) {
	if p.perished() {
		return agent.Entry{}, errDead
	}
	written, err := p.Recorder.Record(entry)
	if p.perished() { // it died right after the write: nobody learns of it
		return agent.Entry{}, errDead
	}
	return written, err
}

// story is something that happens to a service that serves v1, and how it must end,
// whatever dies in between.
type story struct {
	begin  func(w *world) // before the agent that will die starts
	order  agent.Order    // what a human asks of it, and of the next one if that died before it answered
	state  agent.State
	serves string // version and config
}

func stories() map[string]story {
	push := func(version string, b targettest.Behaviour) func(*world) {
		return func(w *world) { w.engine.Behave("sha256:"+version, b); w.want(version, "a") }
	}
	edit := func(w *world) { w.engine.Behave("b", targettest.Dies); w.want("v1", "b") }
	held := func(w *world) {
		w.svc.OnFailure, w.svc.HoldFor = agent.ActionHold, time.Minute
		push("v2", targettest.NeverReady)(w)
	}
	second := func(then func(*world)) func(*world) { // v2 serves, v1 is what there was before
		return func(w *world) {
			push("v2", targettest.Healthy)(w)
			w.begin()
			w.settle()
			w.die()
			if then != nil {
				then(w)
			}
		}
	}
	back := agent.Order{Verb: agent.VerbRollback}
	return map[string]story{
		"good":                   {begin: push("v2", targettest.Healthy), state: agent.StateSucceeded, serves: "v2 a"},
		"crashing":               {begin: push("v2", targettest.Crash), state: agent.StateRolledBack, serves: "v1 a"},
		"sick":                   {begin: push("v2", targettest.NeverReady), state: agent.StateRolledBack, serves: "v1 a"},
		"compose edit":           {begin: edit, state: agent.StateRolledBack, serves: "v1 a"},
		"held":                   {begin: held, state: agent.StateSucceeded, serves: "v2 a"},
		"human rollback":         {begin: second(nil), order: back, state: agent.StateSucceeded, serves: "v1 a"},
		"human rollback to sick": {begin: second(func(w *world) { w.engine.Behave("sha256:v1", targettest.NeverReady) }), order: back, state: agent.StateRollbackFailed, serves: "v1 a"},
		"both sick": {begin: func(w *world) {
			push("v2", targettest.Dies)(w)
			w.engine.Behave("sha256:v1", targettest.NeverReady)
		}, state: agent.StateRollbackFailed, serves: "v1 a"},
	}
}

// tell runs a story in which the process dies when kill says so, and returns whether
// it did. At the end the engine, which nobody can talk into anything, and the history
// must say what they say without the accident.
func tell(t *testing.T, s story, kill func(recorder deploy.Recorder, die func()) deploy.Recorder) (died bool) {
	t.Helper()
	scene(t, func(w *world) {
		w.good()
		w.die()
		s.begin(w)
		before := w.newest().ID
		p := &perishing{Recorder: w.store, dead: make(chan struct{})}
		die := func() {
			if !p.perished() {
				close(p.dead)
			}
		}
		p.Recorder = kill(w.store, die)
		w.recorder = p
		w.begin()
		answered := w.ask(s.order, p.dead)
		select {
		case <-p.dead:
			died = true
		case <-time.After(10 * time.Minute):
		}
		w.die()
		time.Sleep(time.Second)
		w.recorder = w.store
		w.begin()
		if !answered && w.newest().ID == before { // a human who got no answer, and sees nothing begun
			w.ask(s.order, nil)
		}
		d := w.settle()
		synctest.Wait()
		w.endsAs(s, d, before)
	})
	return died
}

// ask gives an order, if there is one, and tells whether it was answered.
func (w *world) ask(order agent.Order, dead <-chan struct{}) bool {
	if order.Verb == "" {
		return true
	}
	answer := make(chan error, 1)
	go func() {
		_, err := w.order(order)
		answer <- err
	}()
	select {
	case err := <-answer:
		return err == nil
	case <-dead:
		return false
	}
}

func (w *world) endsAs(s story, d agent.Deployment, before int64) {
	w.t.Helper()
	if d.State != s.state {
		w.t.Errorf("got %s (%s: %s), want %s\n%+v", d.State, d.Reason, d.Message, s.state, d.Timeline)
	}
	var version, config string
	fmt.Sscan(s.serves, &version, &config)
	w.runs(version, config)
	all, err := w.store.Deployments(agent.HistoryFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	begun := 0
	for _, one := range all {
		if one.ID > before && one.State != agent.StateSuperseded {
			begun++
		}
	}
	if begun != 1 {
		w.t.Errorf("got %d deployments that count, want 1: none lost, none twice: %+v", begun, all)
	}
}

// Every step of the table of transitions is a place where the process is killed, in
// every story that comes through it, before and after the step is on disk.
func TestField03KilledAtEveryStep(t *testing.T) {
	reached, runs := map[deploy.Failpoint]bool{}, 0
	for name, s := range stories() {
		t.Run(name, func(t *testing.T) {
			points := deploy.Failpoints()
			for i := rand.IntN(sparse()); i < len(points); i += sparse() {
				point, died := points[i], false
				t.Run(point.String(), func(t *testing.T) { died = tell(t, s, point.At) })
				reached[point] = reached[point] || died
				if runs++; t.Failed() {
					return
				}
			}
		})
	}
	n := 0
	for _, point := range deploy.Failpoints() {
		if reached[point] {
			n++
		}
	}
	t.Logf("%d runs, %d of %d failpoints reached", runs, n, len(deploy.Failpoints()))
	if !testing.Short() && n < leastReached {
		t.Errorf("got %d failpoints reached, want %d: a story does not go where it went", n, leastReached)
	}
}

// leastReached is how many failpoints the stories come through: all moves of the way
// forward and of the ways back, before and after.
const leastReached = 24

// And so is any moment.
func TestField03KilledAtAnyMoment(t *testing.T) {
	for name, s := range stories() {
		t.Run(name, func(t *testing.T) {
			for n := range randomRuns / sparse() {
				moment := time.Duration(rand.Int64N(int64(3 * time.Minute)))
				tell(t, s, func(recorder deploy.Recorder, die func()) deploy.Recorder {
					time.AfterFunc(moment, die)
					return recorder
				})
				if t.Failed() {
					t.Fatalf("run %d: killed after %s", n, moment)
				}
			}
		})
	}
}

// randomRuns is how often each story is killed at a random moment.
const randomRuns = 60

// sparse makes the quick loop take every sixth of the places where a process can
// die, others each time.
func sparse() int {
	if testing.Short() {
		return 6
	}
	return 1
}
