package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// sendTimeout bounds one Send: a medium may need a few requests for it.
const sendTimeout = time.Minute

var errSlow = errors.New("sending took too long")

// deliver sends one message that is due, the oldest news first: before the next one,
// what happened meanwhile and other settings count. It returns when there will be more,
// zero for never; the error is the store's.
func (n *Notifier) deliver(ctx context.Context) (time.Time, error) {
	now := time.Now()
	d, at := n.next(now)
	switch {
	case ctx.Err() != nil:
		return time.Time{}, nil
	case d == nil:
		return at, nil
	case now.Before(n.quiet):
		return n.quiet, nil
	}
	return now, n.send(ctx, *d, now)
}

// next chooses what is due now: what has failed less often first, so that one bad
// message holds up no other. Where nothing is, it says when something will be.
func (n *Notifier) next(now time.Time) (*agent.Delivery, time.Time) {
	var ready []agent.Delivery
	var soonest time.Time
	for _, d := range n.outbox {
		switch at := due(d, now); {
		case at.IsZero():
		case !at.After(now):
			ready = append(ready, d)
		case soonest.IsZero() || at.Before(soonest):
			soonest = at
		}
	}
	if len(ready) == 0 {
		return nil, soonest
	}
	first := slices.MinFunc(ready, func(a, b agent.Delivery) int {
		return cmp.Or(cmp.Compare(n.tries[a.Key], n.tries[b.Key]), cmp.Compare(urgency(a.Event), urgency(b.Event)), cmp.Compare(a.Event.Seq, b.Event.Seq))
	})
	return &first, now
}

// urgency is smaller for what cannot wait: after an outage the oldest news is seldom
// what somebody has to act on.
func urgency(e agent.Event) int {
	switch {
	case e.Severity == agent.SeverityCritical:
		return 0
	case e.To == agent.StateHeld:
		return 1
	}
	return 2
}

// send brings one delivery to people and notes it. What fails is tried again.
func (n *Notifier) send(ctx context.Context, d agent.Delivery, now time.Time) error {
	if !d.Pending() {
		return n.remind(ctx, d, now)
	}
	unsure := d.Tried
	if !d.Tried {
		d.Tried = true // on disk before it is sent: the next process must know
		if err := n.put(n.told, map[string]agent.Delivery{d.Key: d}, nil); err != nil {
			return err
		}
	}
	ref, err := n.post(ctx, n.latest(d), Attempt{Ref: d.Ref, Unsure: unsure})
	d.Ref = cmp.Or(ref, d.Ref)
	if err == nil {
		n.went(d.Key)
		return n.keep(sent(d, now))
	}
	if refused, ok := errors.AsType[*RefusedError](err); ok && !refused.Account {
		return n.refuse(d, refused.Error(), now)
	}
	d.Tried = unsure || d.Ref != "" || !rejected(err)
	n.failed(ctx, d.Key, err)
	return n.keep(d)
}

// rejected tells whether the medium said that it took nothing.
func rejected(err error) bool {
	_, busy := errors.AsType[*BusyError](err)
	_, refused := errors.AsType[*RefusedError](err)
	return busy || refused
}

// latest says what a delivery has to tell. Where the history cannot tell of its
// deployment any more, its last event does.
func (n *Notifier) latest(d agent.Delivery) Message {
	m, err := n.message(d)
	if err == nil {
		return m
	}
	n.log.Warn("a deployment is told from its last event", "about", d.Key, "error", err)
	known := m
	m = n.ofEvent(d)
	m.Key, m.Host, m.Service = known.Key, known.Host, known.Service
	m.Title = n.title(d.Service, fmt.Sprintf("deployment %d is %s", d.Deployment, strings.ReplaceAll(string(d.Event.To), "_", " ")))
	if d.Event.Severity == agent.SeverityInfo {
		m.Icon, m.Loud = IconInfo, false
	}
	m.Commands = n.there([]string{"agent history " + d.Service})
	return m.redacted()
}

// remind sends a message of its own: an edited one would be noticed by nobody.
func (n *Notifier) remind(ctx context.Context, d agent.Delivery, now time.Time) error {
	over, err := n.isOver(d)
	switch {
	case err != nil:
		return err
	case over:
		d.Told = false
		return n.keep(d)
	}
	own := d
	own.Key = fmt.Sprintf("%s/reminder %d", d.Key, d.Reminders+1)
	m := n.latest(own)
	m.Title = fmt.Sprintf("still, since %s: %s", span(now.Sub(d.Event.At)), m.Title)
	m.Open, m.Loud = false, true
	_, err = n.post(ctx, m, Attempt{Unsure: n.tries[d.Key] > 0})
	if refused, ok := errors.AsType[*RefusedError](err); err != nil && !(ok && !refused.Account) {
		n.failed(ctx, d.Key, err)
		return nil
	}
	n.went(d.Key)
	return n.keep(reminded(d, now))
}

// isOver tells whether nobody has to be reminded of a deployment any more.
func (n *Notifier) isOver(d agent.Delivery) (bool, error) {
	if d.Event.To != agent.StateRollbackFailed {
		return false, nil // how a hold ends is an event of its own
	}
	for _, other := range n.outbox {
		if other.Service == d.Service && other.Deployment > d.Deployment && other.Event.To == agent.StateRollbackFailed {
			return true, nil
		}
	}
	record, err := n.store.Service(d.Service)
	return !record.Critical, err
}

func (n *Notifier) post(ctx context.Context, m Message, earlier Attempt) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sendTimeout, errSlow)
	defer cancel()
	return n.using.Sender.Send(ctx, m, earlier)
}

// keep notes what has become of a delivery. It counts although it cannot be written
// now: else people would be told again and again until the disk has room.
func (n *Notifier) keep(d agent.Delivery) error {
	n.outbox[d.Key], n.unsaved[d.Key] = d, true
	return n.put(n.told, nil, nil)
}

// refuse sets a delivery aside until there is something new to tell of it.
func (n *Notifier) refuse(d agent.Delivery, reason string, now time.Time) error {
	n.log.Error("message is set aside", "about", d.Key, "error", reason)
	d.Refused, d.RefusedAt, d.Tried = reason, now, false
	n.went(d.Key) // the medium answers
	return n.keep(d)
}

// went forgets the failures before a success.
func (n *Notifier) went(key string) {
	if n.pause > 0 {
		n.log.Info("people can be told again")
	}
	n.pause, n.quiet = 0, time.Time{}
	delete(n.tries, key)
	n.mu.Lock()
	n.trouble.Since, n.trouble.Error, n.trouble.Hint = time.Time{}, "", ""
	n.mu.Unlock()
}

// failed gives the medium a rest: as long as it asked for, else longer each time.
func (n *Notifier) failed(ctx context.Context, key string, err error) {
	if ctx.Err() != nil {
		return
	}
	n.tries[key]++
	n.pause = min(max(2*n.pause, pauseFirst), pauseLongest)
	rest := n.pause
	if busy, ok := errors.AsType[*BusyError](err); ok {
		rest = max(busy.After, pauseFirst)
	}
	n.quiet = time.Now().Add(rest)
	hint := agent.Hint(err)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		hint = cmp.Or(hint, refused.Hint)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.trouble.Error == "" {
		n.trouble.Since = time.Now()
	}
	if n.trouble.Error != err.Error() {
		n.log.Warn("people could not be told, it is tried again", "error", err, "hint", hint)
	}
	n.trouble.Error, n.trouble.Hint = err.Error(), hint
}

// report publishes what waits and what was set aside.
func (n *Notifier) report() {
	waiting, refused := 0, []agent.Delivery{}
	for _, d := range n.outbox {
		switch {
		case d.Pending():
			waiting++
		case d.Refused != "":
			refused = append(refused, d)
		}
	}
	slices.SortFunc(refused, func(a, b agent.Delivery) int { return cmp.Compare(a.Event.Seq, b.Event.Seq) })
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.using.Sender == nil {
		n.trouble = Trouble{}
		return
	}
	n.trouble.Waiting, n.trouble.Refused = waiting, nil
	for _, d := range refused {
		n.trouble.Refused = append(n.trouble.Refused, d.Key+": "+d.Refused)
	}
}
