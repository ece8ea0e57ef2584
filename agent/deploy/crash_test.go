package deploy_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/target/targettest"
)

// mortal is a recorder whose process dies at its nth record: before it is written,
// or right after.
type mortal struct {
	deploy.Recorder
	left  int
	after bool
	dead  chan struct{}
}

var errDead = errors.New("the process is dead")

func (m *mortal) Record(entry agent.Entry) (agent.Entry, error) {
	select {
	case <-m.dead:
		return agent.Entry{}, errDead
	default:
	}
	m.left--
	if m.left > 0 {
		return m.Recorder.Record(entry)
	}
	if m.after {
		if _, err := m.Recorder.Record(entry); err != nil {
			return agent.Entry{}, err
		}
	}
	close(m.dead)
	return agent.Entry{}, errDead
}

// A process that dies before or after any of its records leaves a truth that the
// next one finishes or undoes: what serves at the end, and what the history says,
// are as without the accident.
func TestField03KilledAtEveryRecord(t *testing.T) {
	fates := map[string]struct {
		behaviour targettest.Behaviour
		state     agent.State
		serves    string
	}{
		"good":    {targettest.Healthy, agent.StateSucceeded, "v2"},
		"crash":   {targettest.Dies, agent.StateRolledBack, "v1"},
		"unready": {targettest.NeverReady, agent.StateRolledBack, "v1"},
	}
	const most = 14
	for name, fate := range fates {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%t", name, after), func(t *testing.T) {
				for n := 1; n <= most; n++ {
					killedAt(t, fate.behaviour, fate.state, fate.serves, n, after)
				}
			})
		}
	}
}

func killedAt(t *testing.T, behaviour targettest.Behaviour, state agent.State, serves string, n int, after bool) {
	t.Helper()
	scene(t, func(w *world) {
		w.good()
		w.die()
		w.engine.Behave("sha256:v2", behaviour)
		w.want("v2", "a")
		m := &mortal{Recorder: w.store, left: n, after: after, dead: make(chan struct{})}
		w.recorder = m
		w.begin()
		select {
		case <-m.dead:
		case <-time.After(10 * time.Minute): // fewer records than n: nothing to survive
		}
		w.die()
		time.Sleep(time.Second)
		w.recorder = w.store
		w.begin()
		d := w.settle()
		synctest.Wait()
		if d.ID == 1 {
			t.Fatalf("killed at record %d: got no second deployment", n)
		}
		if d.State != state {
			t.Errorf("killed at record %d: got %s (%s: %s), want %s\n%+v", n, d.State, d.Reason, d.Message, state, d.Timeline)
		}
		w.runs(serves, "a")
		all, _ := w.store.Deployments(agent.HistoryFilter{})
		if len(all) != 2 {
			t.Errorf("killed at record %d: got %d deployments, want 2: none lost, none twice", n, len(all))
		}
	})
}
