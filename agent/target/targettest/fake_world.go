package targettest

import (
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
)

// world is what the fake's engine knows about one service.
type world struct {
	instances []*container
	observers []*observer
}

// container is one instance and what it does. run is raised by every start and
// stop, so that the timers of an earlier run find themselves out of date.
type container struct {
	agent.Instance
	does  Behaviour
	run   int
	exits int
}

func (f *Fake) world(service string) *world {
	w := f.services[service]
	if w == nil {
		w = &world{}
		f.services[service] = w
	}
	return w
}

// Serve makes artifacts run, as a human did before the agent came: nothing is
// counted as a call, and the images are on this host afterwards.
func (f *Fake) Serve(service string, artifacts []agent.Artifact, configHash string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range artifacts {
		f.local[artifacts[i].Digest] = imageID(artifacts[i].Digest)
		f.tags[artifacts[i].Ref] = artifacts[i].Digest
	}
	rel := agent.Release{Service: service, Artifacts: slices.Clone(artifacts), ConfigHash: configHash}
	f.converge(f.world(service), learned(rel, configHash), len(artifacts))
}

// Crash makes every running instance of a service exit, unasked.
func (f *Fake) Crash(service string, code int) {
	f.each(service, func(w *world, c *container) {
		if c.Phase == agent.PhaseRunning {
			f.exit(w, c, code, false)
		}
	})
}

// Stop stops every instance of a service, as a human does.
func (f *Fake) Stop(service string) {
	f.each(service, func(w *world, c *container) { f.stop(w, c) })
}

// Start starts every stopped instance of a service, as a human does.
func (f *Fake) Start(service string) {
	f.each(service, func(w *world, c *container) {
		if c.Phase != agent.PhaseRunning {
			f.start(w, c)
		}
	})
}

// SetHealth makes the check of every running instance say something.
func (f *Fake) SetHealth(service string, state agent.HealthState, output string) {
	f.each(service, func(w *world, c *container) {
		if c.Phase == agent.PhaseRunning {
			f.health(w, c, state, output)
		}
	})
}

// Foreign lets somebody else change what serves. The instances that change
// returns are what runs afterwards.
func (f *Fake) Foreign(service string, change func([]agent.Instance) []agent.Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.world(service)
	next := change(w.list())
	w.instances = nil
	for _, i := range next {
		w.instances = append(w.instances, &container{Instance: i})
	}
	f.tell(w, agent.Observation{Kind: agent.ObservedSnapshot, Instances: w.list()})
}

func (f *Fake) each(service string, do func(*world, *container)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.world(service)
	for _, c := range slices.Clone(w.instances) {
		do(w, c)
	}
}

// converge makes the first n artifacts of a release run and leaves alone what
// runs them already.
func (f *Fake) converge(w *world, rel agent.Release, n int) {
	for i, a := range rel.Artifacts {
		if i >= n {
			return
		}
		f.convergeArtifact(w, rel, a)
	}
	for _, c := range slices.Clone(w.instances) {
		if !slices.ContainsFunc(rel.Artifacts, func(a agent.Artifact) bool { return a.Name == c.Artifact }) {
			f.remove(w, c)
		}
	}
}

func (f *Fake) convergeArtifact(w *world, rel agent.Release, a agent.Artifact) {
	f.tags[a.Ref] = a.Digest
	have := 0
	for _, c := range slices.Clone(w.instances) {
		switch {
		case c.Artifact != a.Name:
		case !c.Runs(a) || have >= max(a.Count, 1):
			f.remove(w, c)
		default:
			have++
			if c.Phase != agent.PhaseRunning && !a.OneShot {
				f.start(w, c)
			}
		}
	}
	want := a.Count
	if a.OneShot {
		want = 1
		if rel.Restores != 0 { // a rollback does not run one-shots again
			want = 0
		}
	}
	for ; have < want; have++ {
		f.create(w, rel, a)
	}
}

func (f *Fake) create(w *world, rel agent.Release, a agent.Artifact) {
	f.serial++
	c := &container{does: f.behaviour(a, rel.ConfigHash), Instance: agent.Instance{
		ID:           fmt.Sprintf("c%d", f.serial),
		Name:         fmt.Sprintf("%s-%s-%d", rel.Service, a.Name, f.serial),
		Artifact:     a.Name,
		Ref:          a.Ref,
		Local:        a.Local,
		Digests:      []string{a.Digest, a.Local},
		Config:       a.Config,
		Phase:        agent.PhaseCreated,
		Health:       agent.HealthNone,
		CreatedAt:    time.Now(),
		HealthBudget: 0,
	}}
	c.WillRestart, c.HealthBudget = c.does.Restarts, c.does.Budget
	w.instances = append(w.instances, c)
	f.tell(w, agent.Observation{Kind: agent.ObservedSnapshot, Instances: w.list()})
	f.start(w, c)
}

// behaviour is what was scripted, by config hash first, then by digest.
func (f *Fake) behaviour(a agent.Artifact, configHash string) Behaviour {
	if b, ok := f.behave[configHash]; ok && configHash != "" {
		return b
	}
	if b, ok := f.behave[a.Digest]; ok {
		return b
	}
	if a.OneShot {
		return Completes
	}
	return Healthy
}

func (f *Fake) start(w *world, c *container) {
	c.run++
	c.Phase, c.StartedAt, c.FinishedAt = agent.PhaseRunning, time.Now(), time.Time{}
	c.ExitCode, c.OOMKilled, c.Health = 0, false, agent.HealthNone
	if c.does.hasCheck() {
		c.Health = agent.HealthStarting
	}
	f.tell(w, agent.Observation{Kind: agent.ObservedStarted, Instance: c.Instance})
	if c.does.hasCheck() && c.does.Health != agent.HealthStarting {
		f.later(c, c.does.HealthAfter, func() { f.health(w, c, c.does.Health, "the check of the fake") })
	}
	if c.does.Exits && (c.does.Times == 0 || c.exits < c.does.Times) {
		f.later(c, c.does.ExitAfter, func() { f.exit(w, c, c.does.ExitCode, c.does.OOM) })
	}
}

func (f *Fake) health(w *world, c *container, state agent.HealthState, output string) {
	c.Health, c.HealthOutput = state, output
	f.tell(w, agent.Observation{Kind: agent.ObservedHealth, Instance: c.Instance, Detail: output})
}

func (f *Fake) exit(w *world, c *container, code int, oom bool) {
	c.run++
	c.exits++
	c.Phase, c.FinishedAt = agent.PhaseExited, time.Now()
	c.ExitCode, c.OOMKilled = code, oom
	if c.WillRestart {
		c.Phase = agent.PhaseRestarting
		f.later(c, RestartDelay, func() {
			c.Restarts++
			f.start(w, c)
		})
	}
	f.tell(w, agent.Observation{Kind: agent.ObservedExited, Instance: c.Instance, Detail: fmt.Sprintf("exit %d", code)})
}

func (f *Fake) stop(w *world, c *container) {
	if c.Phase != agent.PhaseRunning && c.Phase != agent.PhaseRestarting {
		return
	}
	c.run++
	c.Phase, c.FinishedAt, c.ExitCode = agent.PhaseExited, time.Now(), 143
	f.tell(w, agent.Observation{Kind: agent.ObservedStopped, Instance: c.Instance, Detail: "asked to stop"})
}

func (f *Fake) remove(w *world, c *container) {
	f.stop(w, c)
	c.run++
	w.instances = slices.DeleteFunc(w.instances, func(other *container) bool { return other == c })
	f.tell(w, agent.Observation{Kind: agent.ObservedSnapshot, Instances: w.list()})
}

// later does something once d has passed, unless the container was started or
// stopped meanwhile.
func (f *Fake) later(c *container, d time.Duration, do func()) {
	run := c.run
	time.AfterFunc(d, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if c.run == run {
			do()
		}
	})
}

// tell hands an observation to everybody who observes, unless facts are lost.
func (f *Fake) tell(w *world, o agent.Observation) {
	if !f.lost {
		o.At = time.Now()
		w.send(o)
	}
}

func (w *world) list() []agent.Instance {
	list := make([]agent.Instance, len(w.instances))
	for i, c := range w.instances {
		list[i] = c.Instance
	}
	return list
}

func (w *world) snapshot() {
	w.send(agent.Observation{At: time.Now(), Kind: agent.ObservedSnapshot, Instances: w.list()})
}

func (w *world) send(o agent.Observation) {
	for _, obs := range w.observers {
		obs.queue = append(obs.queue, o)
		select {
		case obs.more <- struct{}{}:
		default:
		}
	}
}
