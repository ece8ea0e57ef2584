package watch

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
)

// settle takes in what came of a question.
func (i *Images) settle(img *image, q *question, digest string, err error, now time.Time) {
	h := img.host
	switch busy, isBusy := errors.AsType[*registry.BusyError](err); {
	case err == nil:
		i.responds(h, q, now)
		i.answered(img, q, digest, now)
	case isBusy:
		i.fails(h, q, now, failure{err: err, busy: true, after: busy.After, ref: img.name.Full})
	case agent.IsPermanent(err):
		i.responds(h, q, now)
		img.silent = time.Time{}
		i.refused(img, q, err, now)
	case !img.silent.IsZero() && !h.responded.Before(img.silent):
		// Others were answered since this one last was not: the host is well.
		img.silent = now
		i.refused(img, q, err, now)
	default:
		img.silent = now
		i.fails(h, q, now, failure{err: err, ref: img.name.Full})
	}
	img.missed = img.missed || img.digest == "" && err != nil
}

// answered tells every service that wants an image when it is another one.
func (i *Images) answered(img *image, q *question, digest string, now time.Time) {
	i.mended(&img.trouble, subjectOf(img), "can be resolved again", now)
	i.overAgain(subjectOf(img), "can be resolved again", now)
	i.leave(img, now)
	news := digest != img.digest && (img.digest != "" || img.missed)
	before := img.digest
	img.digest, img.asked, img.silent, img.missed = digest, q.began, time.Time{}, false
	if !news {
		return
	}
	i.log.Info("image changed", "ref", img.name.Full, "digest", digest, "before", before)
	for _, service := range slices.Sorted(maps.Keys(img.services)) {
		i.changes = append(i.changes, agent.Change{Service: service, At: now, Cause: "registry"})
	}
}

// refused is about one image: its registry answers for others.
func (i *Images) refused(img *image, q *question, err error, now time.Time) {
	img.asked = q.began
	if img.since.IsZero() {
		img.since = q.began
		i.log.Debug("image cannot be resolved", "ref", img.name.Full, "error", plain(err, img.name.Full))
	}
	img.err = err
	if !img.told && !img.among && !img.quiet() && len(img.services) > 0 && now.Sub(img.since) >= patiencePolls*i.interval {
		i.tellRefused(img, now)
	}
}

// responds is about the registry: it answers, be it with a refusal. Whatever it
// was not asked meanwhile is due at once.
func (i *Images) responds(h *host, q *question, now time.Time) {
	h.responded = now
	i.overAgain(subjectOfHost(h), "can be asked again", now)
	if h.since.IsZero() || h.busy && q.began.Before(h.noticed) { // asked before it lost its patience
		return
	}
	i.log.Info("registry answers again", "registry", h.name, "failures", h.failures)
	i.mended(&h.trouble, subjectOfHost(h), "can be asked again", now)
	h.busy, h.failures, h.pause, h.until = false, 0, 0, time.Time{}
	spread := min(i.interval/10, 5*time.Second) + 1
	for _, img := range h.images {
		if soon := now.Add(rand.N(spread)); len(img.services) > 0 && img.slot.After(soon) {
			img.slot = soon
		}
		img.bunched = img.place >= 0
	}
	h.queue.init()
}

// failure is why a registry could not be asked.
type failure struct {
	err   error
	busy  bool
	after time.Duration // what it asked for; 0: nothing
	ref   string        // that it was asked for
}

// fails leaves a registry alone for a while.
func (i *Images) fails(h *host, q *question, now time.Time, f failure) {
	f.after = min(f.after, longestRetryAfter)
	if !h.since.IsZero() && q.began.Before(h.noticed) { // under way when another failed: no second failure
		if f.busy {
			h.busy = true
			h.until = later(h.until, now.Add(f.after))
			i.release(h, nil)
		}
		return
	}
	if h.since.IsZero() {
		h.since = q.began
		i.log.Warn("registry cannot be asked", "registry", h.name, "error", plain(f.err, f.ref), "hint", agent.Hint(f.err))
	}
	h.failures++
	h.err, h.busy, h.noticed = unasked{plain(f.err, f.ref), f.err}, f.busy, now
	h.until = now.Add(h.nextPause(i.interval, f))
	i.release(h, nil)
}

// nextPause doubles from one interval on; what the registry asks for comes first,
// but a second time in a row not for less than a poll.
func (h *host) nextPause(interval time.Duration, f failure) time.Duration {
	longest := max(longestSilence, 2*interval) // when it is back, people wait for it
	if f.busy {
		longest = longestBusy
	}
	h.pause = max(interval, min(2*h.pause, longest))
	switch {
	case f.after == 0:
		return h.pause
	case h.failures == 1:
		return f.after
	}
	return max(f.after, interval)
}

// release answers everybody who waits for a question that is not asked now. A nil
// error is what the host is in trouble for.
func (i *Images) release(h *host, err error) {
	for _, img := range h.images {
		q := img.question
		if q == nil || img.place < 0 {
			continue
		}
		img.question = nil
		img.missed = img.missed || img.digest == ""
		q.began, q.err = time.Now(), err
		if err == nil {
			q.err = unasked{"resolving " + img.name.Full + ": " + h.text(), h.err}
		}
		close(q.done)
	}
	h.queue.init()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
