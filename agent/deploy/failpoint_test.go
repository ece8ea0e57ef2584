package deploy

import (
	"cmp"
	"fmt"
	"slices"

	"rollback-agent/agent"
)

// Failpoint is a moment at which a process may die: right before a deployment's move
// is on disk, or right after. What lies between two of them is one step.
type Failpoint struct {
	From, To agent.State
	After    bool
}

// Failpoints are made from the table of transitions: there is no step without two,
// and none that the table does not know. From "" is the intent of a new deployment.
func Failpoints() []Failpoint {
	points := []Failpoint{{"", agent.StateQueued, false}, {"", agent.StateQueued, true}} // the intent itself
	for from, nexts := range agent.Transitions() {
		for _, to := range nexts {
			points = append(points, Failpoint{from, to, false}, Failpoint{from, to, true})
		}
	}
	slices.SortFunc(points, func(a, b Failpoint) int { return cmp.Compare(a.String(), b.String()) })
	return points
}

// String is "verifying>rolling_back:after".
func (p Failpoint) String() string {
	when := "before"
	if p.After {
		when = "after"
	}
	return fmt.Sprintf("%s>%s:%s", p.From, p.To, when)
}

// At returns a recorder that calls die when a deployment passes the point, once.
// Tests kill the process there.
func (p Failpoint) At(recorder Recorder, die func()) Recorder {
	return &mined{Recorder: recorder, point: p, die: die}
}

type mined struct {
	Recorder
	point Failpoint
	die   func()
}

func (m *mined) Record(entry agent.Entry) (agent.Entry, error) {
	hit := entry.Event != nil && entry.Event.Kind == agent.EventTransition && entry.Event.From == m.point.From && entry.Event.To == m.point.To
	if hit && !m.point.After {
		m.die()
	}
	written, err := m.Recorder.Record(entry)
	if hit && m.point.After {
		m.die()
	}
	return written, err
}
