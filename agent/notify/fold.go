package notify

import (
	"time"

	"rollback-agent/agent"
)

// take folds an event into the delivery about the same thing, and tells whether
// that changes anything. It is pure. asked says that people want to hear of the
// occasion, updates that what was told can be brought up to date.
func take(d agent.Delivery, known bool, e agent.Event, occasion Occasion, asked, updates bool) (agent.Delivery, bool) {
	if !known {
		d = agent.Delivery{Service: e.Service, Deployment: e.Deployment, Since: e.At}
	}
	switch {
	case occasion == "":
		return d, false
	case e.Kind == agent.EventTransition:
		return takeTransition(d, known, e, occasion, asked, updates)
	case occasion == onMended:
		return takeMended(d, known, e)
	case !asked:
		return d, false
	}
	switch {
	case isProblem(e) && (d.Told || d.Sent > 0 && momentary(e)):
		d.Repeats++
	default:
		d.Since, d.Repeats, d.Reminders = e.At, 0, 0
	}
	return renewed(d, e), true
}

// takeTransition follows a deployment from the first step that people want to hear
// of. Without updates only what they asked for is told, and how a hold ended that
// they were asked about.
func takeTransition(d agent.Delivery, known bool, e agent.Event, occasion Occasion, asked, updates bool) (agent.Delivery, bool) {
	begins := asked || updates && (e.To == agent.StateApplying || e.To == agent.StateRollingBack || occasion == OnSucceeded)
	goesOn := known && (updates || d.Event.To == agent.StateHeld && e.To.Ended())
	if !begins && !goesOn {
		return d, false
	}
	if e.To != agent.StateRollbackFailed && e.To != agent.StateHeld {
		d.Told = false // nothing to be reminded of
	}
	return renewed(d, e), true
}

// takeMended tells the end of a trouble only to those who heard of the trouble, or
// may have: a try without an answer has brought it to them, or not.
func takeMended(d agent.Delivery, known bool, e agent.Event) (agent.Delivery, bool) {
	if !known {
		return d, false
	}
	heard := d.Told || d.Tried
	d = renewed(d, e)
	if !heard {
		d.Sent = e.Seq
	}
	return d, true
}

// renewed has something new to tell. What was refused was the old version.
func renewed(d agent.Delivery, e agent.Event) agent.Delivery {
	d.Event, d.Refused, d.RefusedAt = e, "", time.Time{}
	return d
}

// sent is the delivery after its newest event was told.
func sent(d agent.Delivery, now time.Time) agent.Delivery {
	d.Sent, d.Tried = d.Event.Seq, false
	switch e := d.Event; {
	case e.Kind == agent.EventTransition:
		d.SentAt, d.Told = now, e.To == agent.StateRollbackFailed || e.To == agent.StateHeld
	case isProblem(e):
		d.SentAt, d.Told, d.Repeats = now, !momentary(e), 0
	case isMended(e):
		d.Told = false // SentAt stays that of the trouble: it may be back in a minute
	default:
		d.SentAt = now
	}
	return d
}

const (
	hourly    = time.Hour       // the same trouble is not told more often
	editPause = 3 * time.Second // between two versions of a message whose deployment goes on
)

// due says when a delivery is to be sent; zero for never. A pending one that is no
// deployment is told hourly at most; the end of a trouble, at once.
func due(d agent.Delivery, now time.Time) time.Time {
	switch e := d.Event; {
	case !d.Pending():
		return reminder(d)
	case d.SentAt.IsZero(), isMended(e), e.Kind == agent.EventRecovered, d.SentAt.After(now): // the clock was ahead
		return now
	case e.Kind != agent.EventTransition:
		return d.SentAt.Add(hourly)
	case e.To.Ended() || e.To == agent.StateHeld || e.To == agent.StateRollingBack:
		return now
	}
	return d.SentAt.Add(editPause)
}

// reminder says when people are told again of what goes on.
func reminder(d agent.Delivery) time.Time {
	if !d.Told || d.Refused != "" {
		return time.Time{}
	}
	return later(nextReminder(d), d.SentAt.Add(hourly))
}

// nextReminder is after an hour, after six, then daily.
func nextReminder(d agent.Delivery) time.Time {
	began, pause := d.Since, time.Hour
	if d.Event.Kind == agent.EventTransition {
		began = d.Event.At
	}
	switch {
	case d.Reminders == 1:
		pause = 6 * time.Hour
	case d.Reminders > 1:
		pause = time.Duration(d.Reminders-1) * 24 * time.Hour
	}
	return began.Add(pause)
}

// reminded is the delivery after people were reminded of it. Reminders that nobody
// could be sent in time are not made up for.
func reminded(d agent.Delivery, now time.Time) agent.Delivery {
	d.SentAt = now
	for d.Reminders++; !nextReminder(d).After(now); d.Reminders++ {
	}
	return d
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isProblem tells whether something does not work.
func isProblem(e agent.Event) bool {
	_, occasion := sort(e)
	return occasion == OnTrouble
}

// momentary troubles are over when they are told: nobody is reminded of them, and
// no event ends them.
func momentary(e agent.Event) bool {
	return e.Kind != agent.EventTrouble && e.Kind != agent.EventInvalid
}

func isMended(e agent.Event) bool {
	return e.Kind == agent.EventMended || e.Kind == agent.EventValid
}
