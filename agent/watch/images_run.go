package watch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rollback-agent/agent"
)

// errStopped is what is said after Run has ended.
var errStopped = fmt.Errorf("images are not watched any more: %w", agent.ErrUnreachable)

// Run polls until ctx ends, and waits for what it has asked.
func (i *Images) Run(ctx context.Context) error {
	var requests sync.WaitGroup
	i.setStopped(false)
	i.mu.Lock()
	i.began = time.Now()
	i.mu.Unlock()
	for {
		next := i.start(ctx, &requests)
		i.emit()
		var due <-chan time.Time
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			i.setStopped(true)
			requests.Wait()
			i.emit()
			return nil
		case <-i.wake:
		case <-due:
		}
	}
}

// setStopped leaves nobody waiting for an answer that will not come.
func (i *Images) setStopped(stopped bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = stopped
	if !stopped {
		return
	}
	for _, h := range i.hosts {
		i.release(h, errStopped)
	}
}

// emit tells what was found, without the lock: who is told may ask back.
func (i *Images) emit() {
	i.mu.Lock()
	changes, events := i.changes, i.events
	i.changes, i.events = nil, nil
	i.mu.Unlock()
	for _, event := range events {
		i.tell(event)
	}
	for _, change := range changes {
		i.report(change)
	}
}

// start asks everything that is due, and returns when the next thing is; zero:
// when something happens.
func (i *Images) start(ctx context.Context, requests *sync.WaitGroup) (next time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	next = i.forgetRecalled(now)
	for _, h := range i.hosts {
		for _, at := range []time.Time{i.startHost(ctx, h, now, requests), i.alert(h, now), i.drop(h, now)} {
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next
}

// drop forgets a registry that is asked for nothing any more, but not how long it
// wants to be left alone.
func (i *Images) drop(h *host, now time.Time) time.Time {
	switch {
	case len(h.images) > 0:
		return time.Time{}
	case h.paused(now):
		return h.until
	}
	delete(i.hosts, h.name)
	return time.Time{}
}

// startHost asks one registry. Where there is no room, the end of a question
// wakes Run.
func (i *Images) startHost(ctx context.Context, h *host, now time.Time, requests *sync.WaitGroup) (next time.Time) {
	for {
		at := h.due(now)
		switch {
		case at.IsZero(), at.After(now):
			return at
		case !h.room(i.running):
			return time.Time{}
		}
		img := h.queue.take()
		if img.question == nil && len(img.services) == 0 {
			i.forget(img, now)
			continue
		}
		if img.question == nil {
			img.question = newQuestion()
		}
		q := img.question
		q.began = now
		h.runs++
		i.running++
		requests.Go(func() { i.ask(ctx, img, q) })
	}
}

func (i *Images) ask(ctx context.Context, img *image, q *question) {
	digest, err := i.asker.Resolve(ctx, img.name.Full)
	i.mu.Lock()
	defer i.mu.Unlock()
	img.host.runs--
	i.running--
	img.question = nil
	if err != nil && ctx.Err() != nil {
		err = errStopped // it was not the registry that gave up
	} else {
		i.settle(img, q, digest, err, time.Now())
	}
	i.reschedule(img, q)
	q.digest, q.err = digest, err
	close(q.done)
	i.poke()
}

// reschedule puts an image back in the queue. A worker's question does not move
// its poll: workers ask in step when the agent starts.
func (i *Images) reschedule(img *image, q *question) {
	switch {
	case len(img.services) == 0:
		img.slot = q.began.Add(max(keepUnwanted, 2*i.interval))
	case !img.host.since.IsZero():
		img.slot = img.host.until
	case img.bunched:
		img.slot = i.draw(q.began)
	case q.human, !img.slot.After(q.began):
		img.slot = q.began.Add(i.interval)
	}
	img.bunched = false
	img.host.queue.add(img)
}
