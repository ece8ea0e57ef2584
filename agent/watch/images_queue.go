package watch

import (
	"container/heap"
	"time"
)

// host is one registry.
type host struct {
	name   string
	images map[string]*image // by full name
	queue  queue             // those that are not being asked for
	runs   int               // questions under way
	wanted int               // images that services want
	idle   time.Time         // since when none is

	trouble             // it cannot be asked
	many      bool      // people were told that it refuses many images
	busy      bool      // because it says so
	failures  int       // in a row
	noticed   time.Time // the last of them
	pause     time.Duration
	until     time.Time // not asked before
	responded time.Time // last time
}

// The bounds of what is asked at once, and of how long a registry is left alone.
const (
	maxQuestions        = 8
	maxQuestionsPerHost = 2
	longestSilence      = time.Minute
	longestBusy         = time.Hour
	longestRetryAfter   = 24 * time.Hour
)

// paused tells whether the host is to be left alone.
func (h *host) paused(now time.Time) bool { return now.Before(h.until) }

// due returns when the host has something to be asked for; zero: never.
func (h *host) due(now time.Time) time.Time {
	if len(h.queue) == 0 {
		return time.Time{}
	}
	first := h.queue[0]
	switch {
	case first.question != nil: // one that may not be asked in a pause was answered without
		return now
	case first.slot.Before(h.until):
		return h.until
	}
	return first.slot
}

// room tells whether the host may be asked one more question. The first one never
// waits for other hosts; one in trouble gets no second.
func (h *host) room(running int) bool {
	switch {
	case h.runs == 0:
		return true
	case !h.since.IsZero():
		return false
	}
	return h.runs < maxQuestionsPerHost && running < maxQuestions
}

// queue orders images by when they are due: first those that somebody waits for.
type queue []*image

func (q *queue) add(img *image) { heap.Push(q, img) }

func (q *queue) take() *image { return heap.Pop(q).(*image) }

func (q *queue) init() { heap.Init(q) }

// fix moves an image whose time has changed. One that is being asked for comes
// back by itself.
func (q *queue) fix(img *image) {
	if img.place >= 0 {
		heap.Fix(q, img.place)
	}
}

func (q queue) Len() int { return len(q) }

func (q queue) Less(a, b int) bool {
	if waits := q[a].question != nil; waits != (q[b].question != nil) {
		return waits
	}
	if q[a].slot.Equal(q[b].slot) {
		return q[a].silent.Before(q[b].silent) // after a failure, another one tries first
	}
	return q[a].slot.Before(q[b].slot)
}

func (q queue) Swap(a, b int) {
	q[a], q[b] = q[b], q[a]
	q[a].place, q[b].place = a, b
}

func (q *queue) Push(img any) {
	img.(*image).place = len(*q)
	*q = append(*q, img.(*image))
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	img := (*q)[last]
	(*q)[last] = nil
	*q, img.place = (*q)[:last], -1
	return img
}
