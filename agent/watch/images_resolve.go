package watch

import (
	"context"
	"fmt"
	"time"

	"rollback-agent/agent/registry"
)

// Resolve returns the digest of a reference. An answer from before asOf does not
// count; with a zero asOf any does that is younger than one interval or kept up
// to date by polling. Where the registry cannot be asked, the last known digest
// is the answer, however old; the error is the asker's, or one that says since
// when the registry does not answer.
func (i *Images) Resolve(ctx context.Context, ref string, asOf time.Time) (string, error) {
	name, err := registry.ParseName(ref)
	if err != nil || name.Digest != "" {
		return name.Digest, err
	}
	if now := time.Now(); asOf.After(now) {
		asOf = now // the clock went back; nothing is ever answered later than now
	}
	for {
		q, digest, err := i.known(name, asOf)
		if q == nil {
			return digest, err
		}
		select {
		case <-ctx.Done():
			i.miss(name)
			return "", fmt.Errorf("resolving %s: %w", ref, context.Cause(ctx))
		case <-q.done:
		}
		if !q.began.Before(asOf) {
			return i.outcome(name, q)
		}
	}
}

func newQuestion() *question { return &question{done: make(chan struct{})} }

// known returns an answer, or the question to wait for.
func (i *Images) known(name registry.Name, asOf time.Time) (*question, string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	img := i.image(name, now)
	switch {
	case i.counts(img, asOf, now):
		return i.last(img, img.err)
	case i.stopped:
		return i.last(img, fmt.Errorf("resolving %s: %w", name.Full, errStopped))
	case img.host.paused(now) && (img.host.busy || !img.host.noticed.Before(asOf) || asOf.IsZero()):
		i.log.Debug("registry is left alone", "ref", name.Full, "until", img.host.until)
		return i.last(img, unasked{"resolving " + name.Full + ": " + img.host.text(), img.host.err})
	}
	if img.question == nil {
		img.question = newQuestion()
		img.host.queue.fix(img)
		i.poke()
	}
	img.question.human = img.question.human || !asOf.IsZero()
	return img.question, "", nil
}

// counts tells whether what is known of an image is an answer as of then.
func (i *Images) counts(img *image, asOf, now time.Time) bool {
	fresh := now.Sub(img.asked) < i.interval
	polled := len(img.services) > 0
	switch {
	case img.asked.IsZero(), img.asked.Before(asOf):
		return false
	case img.err != nil: // a refusal is not worth more than the next poll
		return polled && fresh
	}
	return polled || fresh
}

// last is what was known last, or else the error.
func (i *Images) last(img *image, err error) (*question, string, error) {
	if img.digest != "" {
		return nil, img.digest, nil
	}
	img.missed = true
	return nil, "", err
}

// outcome is what came of a question.
func (i *Images) outcome(name registry.Name, q *question) (string, error) {
	if q.err == nil {
		return q.digest, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	_, digest, err := i.last(i.image(name, time.Now()), q.err)
	if err == nil {
		i.log.Debug("registry cannot tell, what it said last counts", "ref", name.Full, "error", q.err)
	}
	return digest, err
}

// miss remembers that somebody left without an answer.
func (i *Images) miss(name registry.Name) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if img, ok := i.images[name.Full]; ok && img.digest == "" {
		img.missed = true
	}
}
