package targettest

import (
	"context"
	"slices"
	"time"

	"rollback-agent/agent"
)

// observer is one call of Observe: what it has yet to report.
type observer struct {
	queue []agent.Observation
	more  chan struct{}
}

// Observe reports what happens until ctx ends.
func (f *Fake) Observe(ctx context.Context, svc agent.Service, report func(agent.Observation)) error {
	if _, err := f.enter(ctx, MethodObserve); err != nil {
		return err
	}
	obs := f.subscribe(svc.Name)
	defer f.unsubscribe(svc.Name, obs)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-obs.more:
		}
		for _, o := range f.drain(obs) {
			if ctx.Err() != nil {
				return nil
			}
			report(o)
		}
	}
}

func (f *Fake) subscribe(service string) *observer {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.world(service)
	obs := &observer{more: make(chan struct{}, 1)}
	first := agent.Observation{At: time.Now(), Kind: agent.ObservedSnapshot, Instances: w.list()}
	if f.lost {
		first = agent.Observation{At: time.Now(), Kind: agent.ObservedLost, Detail: "the engine does not answer"}
	}
	obs.queue = append(obs.queue, first)
	obs.more <- struct{}{}
	w.observers = append(w.observers, obs)
	return obs
}

func (f *Fake) unsubscribe(service string, obs *observer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.world(service)
	w.observers = slices.DeleteFunc(w.observers, func(other *observer) bool { return other == obs })
}

func (f *Fake) drain(obs *observer) []agent.Observation {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := obs.queue
	obs.queue = nil
	return queue
}
