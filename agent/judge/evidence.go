package judge

import (
	"maps"
	"slices"
	"time"

	"rollback-agent/agent"
)

// Evidence is what has been seen of one release, folded from observations and
// samples. The zero value has seen nothing and passes nothing.
type Evidence struct {
	Release *agent.Release // only its instances count

	Known     bool // a snapshot was seen and no facts were lost since
	Instances map[string]agent.Instance
	Exits     map[string]int    // unrequested exits by instance ID; they outlive their instance
	seen      map[string]int    // those of them that were told one by one
	Baseline  map[string]int    // engine restarts an instance had when it was first seen
	Fatal     *agent.Instance   // the instance whose exit nothing will restart, or that was OOM-killed
	past      map[string]bool   // instances that were dead before the release was applied
	Stopped   map[string]string // artifacts of the instances that somebody asked to stop, by ID
	stopped   time.Time         // since when something is stopped

	Probes       map[string]Probing
	HealthySince time.Time // zero while anything is amiss
	WasHealthy   bool
}

// Probing is what one probe has said so far.
type Probing struct {
	Last      agent.Sample
	Passed    bool // at least once
	Fails     int  // in a row
	FailSince time.Time
}

// NewEvidence begins with the counters that a deployment has recorded.
func NewEvidence(rel *agent.Release, probes []string, counters agent.Counters) *Evidence {
	e := &Evidence{
		Release:   rel,
		Instances: map[string]agent.Instance{},
		Exits:     map[string]int{},
		seen:      map[string]int{},
		Baseline:  map[string]int{},
		Stopped:   map[string]string{},
		past:      map[string]bool{},
		Probes:    map[string]Probing{},
	}
	maps.Copy(e.Exits, counters.Exits)
	maps.Copy(e.seen, counters.Exits)
	maps.Copy(e.Baseline, counters.Baseline)
	for _, gate := range probes {
		e.Probes[gate] = Probing{}
	}
	return e
}

// Begin takes what is there before the release is applied as the past: what is
// dead already is no crash of the release, what was restarted before does not
// count.
func (e *Evidence) Begin(o agent.Observation) {
	for _, i := range o.Instances {
		if i.Phase == agent.PhaseExited {
			e.past[i.ID] = true
		}
	}
	e.Observe(o)
}

// Applied starts the clocks at the end of Apply: that of continuous health, and that
// of what is stopped. Apply stops instances itself, and news of what it started may
// come a moment after it has returned.
func (e *Evidence) Applied(at time.Time) {
	e.HealthySince, e.stopped = time.Time{}, time.Time{}
	e.settle(at)
}

// Counters returns what must survive a restart of the agent.
func (e *Evidence) Counters() (exits, baseline map[string]int) {
	return maps.Clone(e.Exits), maps.Clone(e.Baseline)
}

// Observe folds one fact in.
func (e *Evidence) Observe(o agent.Observation) {
	switch o.Kind {
	case agent.ObservedLost:
		e.Known = false
		e.HealthySince = time.Time{}
		return
	case agent.ObservedSnapshot:
		e.snapshot(o)
	case agent.ObservedExited:
		e.update(o.Instance)
		e.exited(o.Instance)
	case agent.ObservedStopped:
		e.update(o.Instance)
		if e.counts(o.Instance) {
			e.Stopped[o.Instance.ID] = o.Instance.Artifact
		}
	case agent.ObservedStarted:
		delete(e.Stopped, o.Instance.ID)
		delete(e.past, o.Instance.ID)
		e.HealthySince = time.Time{}
		e.update(o.Instance)
	default:
		e.update(o.Instance)
	}
	e.settle(o.At)
}

// Sample folds one answer of a probe in.
func (e *Evidence) Sample(s agent.Sample) {
	p := e.Probes[s.Gate]
	p.Last = s
	if s.Passed {
		p.Passed, p.Fails, p.FailSince = true, 0, time.Time{}
	} else {
		if p.Fails == 0 {
			p.FailSince = s.At
		}
		p.Fails++
	}
	e.Probes[s.Gate] = p
	e.settle(s.At)
}

// snapshot replaces the picture, and counts the exits that were missed while
// nobody looked.
func (e *Evidence) snapshot(o agent.Observation) {
	e.Known = true
	e.Instances = map[string]agent.Instance{}
	for _, i := range o.Instances {
		if !e.counts(i) {
			continue
		}
		e.update(i)
		if e.diedUnseen(i) {
			e.died(i, 1)
		}
	}
}

// diedUnseen tells whether an instance found dead crashed, as opposed to having
// been stopped while nobody looked: the signals of a stop, and a clean exit, look
// like a stop.
func (e *Evidence) diedUnseen(i agent.Instance) bool {
	if i.Phase != agent.PhaseExited || e.Exits[i.ID] > 0 || e.Stopped[i.ID] != "" || e.past[i.ID] {
		return false
	}
	if e.oneShot(i) {
		return i.ExitCode != 0
	}
	asked := i.ExitCode == 0 || i.ExitCode == 137 || i.ExitCode == 143
	if asked && !i.OOMKilled {
		e.Stopped[i.ID] = i.Artifact
		return false
	}
	return true
}

func (e *Evidence) exited(i agent.Instance) {
	if !e.counts(i) || (e.oneShot(i) && i.ExitCode == 0 && !i.OOMKilled) {
		return
	}
	e.seen[i.ID]++
	e.died(i, e.seen[i.ID])
}

// died counts the exits of an instance as at least n. An exit may show in a
// snapshot before it is told; it is one exit all the same.
func (e *Evidence) died(i agent.Instance, n int) {
	e.Exits[i.ID] = max(e.Exits[i.ID], n)
	e.HealthySince = time.Time{}
	if i.OOMKilled || !i.WillRestart {
		e.Fatal = &i
	}
}

func (e *Evidence) update(i agent.Instance) {
	if !e.counts(i) {
		return
	}
	if _, seen := e.Baseline[i.ID]; !seen {
		e.Baseline[i.ID] = i.Restarts
	}
	e.Exits[i.ID] = max(e.Exits[i.ID], i.Restarts-e.Baseline[i.ID])
	e.Instances[i.ID] = i
}

// counts tells whether the instance runs the release that is judged.
func (e *Evidence) counts(i agent.Instance) bool {
	return e.Release != nil && slices.ContainsFunc(e.Release.Artifacts, i.Runs)
}

func (e *Evidence) oneShot(i agent.Instance) bool {
	return slices.ContainsFunc(e.Release.Artifacts, func(a agent.Artifact) bool { return a.Name == i.Artifact && a.OneShot })
}

// settle starts or stops the clock of continuous health.
func (e *Evidence) settle(at time.Time) {
	switch {
	case e.Down() == "":
		e.stopped = time.Time{}
	case e.stopped.IsZero():
		e.stopped = at
	}
	switch {
	case e.Amiss() != "":
		e.HealthySince = time.Time{}
	case e.HealthySince.IsZero():
		e.HealthySince = at
		e.WasHealthy = true
	}
}
