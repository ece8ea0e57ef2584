package watch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
)

// DefaultPoll is the time between two questions for one reference.
const DefaultPoll = time.Minute

// keepUnwanted is how long an answer is remembered for which no service asks to
// be told of news: it may be about to. What it was then is what news is judged by.
const keepUnwanted = time.Hour

// Asker turns a reference into a digest by asking its registry once.
type Asker interface {
	Resolve(ctx context.Context, ref string) (string, error)
}

// Images polls registries for what services want, and answers for them meanwhile.
//
// Its promise: one question per distinct reference and interval, however many
// services share it, and news told within one interval. A registry that does not
// answer, or asks for patience, is left alone; what it said last stays what is
// wanted, and people are told when that lasts. One registry never waits for
// another.
//
// Everything starts in Run: what is resolved before waits for it.
type Images struct {
	log    *slog.Logger
	asker  Asker
	report func(agent.Change)
	tell   func(agent.Event)
	wake   chan struct{} // room for one

	mu       sync.Mutex
	interval time.Duration
	services map[string][]string // the full names that each wants
	images   map[string]*image   // by full name
	hosts    map[string]*host
	running  int  // questions under way
	stopped  bool // Run has ended

	began    time.Time            // when Run did
	recalled map[string]time.Time // subjects of troubles that an earlier process told, since when

	changes []agent.Change // for Run to report, in order
	events  []agent.Event
}

// image is what is known of one reference.
type image struct {
	name     registry.Name
	host     *host
	services map[string]bool // that want it
	slot     time.Time       // of its next poll; without services, when it may be forgotten
	bunched  bool            // its slot is close to all others': the next one is drawn anew
	place    int             // in the queue of its host; -1 while it is asked

	question *question // that waits or is under way
	digest   string    // of the last answer
	asked    time.Time // when the last question began that its registry answered, or refused to
	silent   time.Time // when a question went without any answer, unless one was answered since
	missed   bool      // somebody was told that there is no digest
	trouble            // the registry answers, but not for this
	among    bool      // people were told of it with others of its registry
}

// question is one request. Its fields may be read when done is closed.
type question struct {
	began  time.Time
	human  bool // somebody wants to know it anew
	digest string
	err    error
	done   chan struct{}
}

// NewImages returns Images that call report for each service whose image has
// another digest than before, and tell for troubles that last: both from one
// goroutine. Both may call Set and Remove. interval 0 is [DefaultPoll].
func NewImages(log *slog.Logger, asker Asker, interval time.Duration, report func(agent.Change), tell func(agent.Event)) *Images {
	if interval <= 0 {
		interval = DefaultPoll
	}
	return &Images{
		log: log, asker: asker, interval: interval, report: report, tell: tell,
		wake: make(chan struct{}, 1), services: map[string][]string{},
		images: map[string]*image{}, hosts: map[string]*host{}, recalled: map[string]time.Time{},
	}
}

// Set names the references that a service wants now. Those that are pinned by
// digest, or no references at all, are left out: there is nothing to poll.
func (i *Images) Set(service string, refs []string) {
	wanted := map[string]registry.Name{}
	for _, ref := range refs {
		name, err := registry.ParseName(ref)
		if err != nil {
			i.log.Debug("image is not watched", "service", service, "error", err)
		} else if name.Digest == "" {
			wanted[name.Full] = name
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	for _, full := range i.services[service] {
		if _, still := wanted[full]; !still {
			i.images[full].unwant(service, now)
		}
	}
	full := make([]string, 0, len(wanted))
	for _, name := range wanted {
		full = append(full, name.Full)
		i.want(service, name, now)
	}
	slices.Sort(full)
	i.services[service] = full
	i.poke()
}

// Remove forgets a service, and what nobody else wants.
func (i *Images) Remove(service string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, full := range i.services[service] {
		i.images[full].unwant(service, time.Now())
	}
	delete(i.services, service)
	i.poke()
}

// SetInterval changes the time between two questions for one reference; 0 is
// [DefaultPoll].
func (i *Images) SetInterval(d time.Duration) {
	if d <= 0 {
		d = DefaultPoll
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if d == i.interval {
		return
	}
	i.interval = d
	now := time.Now()
	for _, img := range i.images {
		if len(img.services) > 0 {
			img.slot = i.draw(now)
		}
	}
	for _, h := range i.hosts {
		h.queue.init()
	}
	i.poke()
}

// draw returns a random moment within one interval: it keeps references, and the
// agents of many machines, from asking in step.
func (i *Images) draw(now time.Time) time.Time {
	return now.Add(rand.N(i.interval))
}

// poke makes Run look what is due.
func (i *Images) poke() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// image returns what is known of a name, and makes room for it.
func (i *Images) image(name registry.Name, now time.Time) *image {
	if img, ok := i.images[name.Full]; ok {
		return img
	}
	h, ok := i.hosts[name.Host]
	if !ok {
		h = &host{name: name.Host, images: map[string]*image{}}
		i.hosts[name.Host] = h
	}
	img := &image{name: name, host: h, services: map[string]bool{}, slot: now.Add(keepUnwanted)}
	i.images[name.Full], h.images[name.Full] = img, img
	h.queue.add(img)
	return img
}

func (i *Images) want(service string, name registry.Name, now time.Time) {
	img := i.image(name, now)
	if len(img.services) == 0 {
		img.host.wanted++
		img.slot = i.draw(now)
		img.host.queue.fix(img)
	}
	img.services[service] = true
}

func (img *image) unwant(service string, now time.Time) {
	delete(img.services, service)
	if len(img.services) > 0 {
		return
	}
	img.host.wanted--
	if img.host.wanted == 0 {
		img.host.idle = now
	}
}

// forget drops an image that nobody wants, unless its answer is still worth
// something. It is out of the queue.
func (i *Images) forget(img *image, now time.Time) {
	i.unwanted(&img.trouble, subjectOf(img), now)
	i.leave(img, now)
	if until := img.asked.Add(max(keepUnwanted, 2*i.interval)); now.Before(until) {
		img.slot = until
		img.host.queue.add(img)
		return
	}
	delete(i.images, img.name.Full)
	delete(img.host.images, img.name.Full)
}
