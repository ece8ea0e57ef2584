package notify

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/history"
)

const (
	page      = 500                // events that are read at a time
	keepFor   = 7 * 24 * time.Hour // what is over, for the status and for late edits
	maxOutbox = 2000               // deliveries; of those that are over, the oldest go first
)

// collect fills the outbox with what happened since the last time, and forgets
// what is over. Both are on disk before anything is sent.
func (n *Notifier) collect(now time.Time) error {
	for {
		events, err := n.store.Events(n.told, page)
		if err != nil {
			return err
		}
		batch := batch{Notifier: n, touched: map[string]agent.Delivery{}, told: n.told}
		for _, e := range events {
			if err := batch.add(e); err != nil {
				return err
			}
		}
		if err := n.put(batch.told, batch.touched, n.over(now)); err != nil {
			return err
		}
		if len(events) < page {
			return nil
		}
	}
}

// batch is what some events make of the outbox.
type batch struct {
	*Notifier
	touched map[string]agent.Delivery
	told    uint64
}

func (b *batch) add(e agent.Event) error {
	b.told = e.Seq
	key, occasion := sort(e)
	if occasion == OnSucceeded {
		var err error
		if occasion, err = b.success(e); err != nil {
			return err
		}
	}
	d, known := b.find(key)
	asked := slices.Contains(b.using.On, occasion)
	if d, ok := take(d, known, e, occasion, asked, b.using.Sender.Updates()); ok {
		d.Key = key
		b.touched[key] = d
	}
	return nil
}

func (b *batch) find(key string) (agent.Delivery, bool) {
	if d, ok := b.touched[key]; ok {
		return d, true
	}
	d, ok := b.outbox[key]
	return d, ok
}

// success tells a good deployment from what else ends well: an adoption is nobody's
// news, and what a human rolled back is a rollback. One that the history has
// forgotten already is told to those who know of it.
func (n *Notifier) success(e agent.Event) (Occasion, error) {
	dep, err := n.store.Deployment(e.Deployment)
	switch {
	case errors.Is(err, history.ErrNotFound):
		return onEnd, nil
	case err != nil:
		return "", err
	case dep.Kind == agent.KindAdopt:
		return onEnd, nil
	case dep.Kind == agent.KindRollback:
		return OnRolledBack, nil
	}
	return OnSucceeded, nil
}

// put writes what was touched, and only then believes it. What could not be written
// before goes with it.
func (n *Notifier) put(told uint64, touched map[string]agent.Delivery, gone []string) error {
	if told == n.told && len(touched) == 0 && len(gone) == 0 && len(n.unsaved) == 0 {
		return nil
	}
	list := slices.Collect(maps.Values(touched))
	for key := range n.unsaved {
		if _, ok := touched[key]; !ok && !slices.Contains(gone, key) {
			list = append(list, n.outbox[key])
		}
	}
	if err := n.store.PutOutbox(told, list, gone); err != nil {
		return err
	}
	n.told = told
	clear(n.unsaved)
	for _, d := range list {
		n.outbox[d.Key] = d
	}
	for _, key := range gone {
		delete(n.outbox, key)
		delete(n.tries, key)
	}
	return nil
}

// over lists what nobody asks for any more.
func (n *Notifier) over(now time.Time) []string {
	var done []agent.Delivery
	for _, d := range n.outbox {
		if !d.Pending() && !d.Told {
			done = append(done, d)
		}
	}
	slices.SortFunc(done, func(a, b agent.Delivery) int { return cmp.Compare(a.Event.Seq, b.Event.Seq) })
	var gone []string
	for _, d := range done {
		if now.Sub(d.Event.At) > keepFor || len(n.outbox)-len(gone) > maxOutbox {
			gone = append(gone, d.Key)
		}
	}
	return gone
}
