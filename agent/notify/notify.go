// Package notify tells people what happened: it reads the events that others
// recorded, chooses what deserves a message, and sends one for each deployment
// and each trouble, in its latest state.
//
//	events ──collect──▶ outbox (on disk) ──due?──▶ message ──Send──▶ people
//	                        ▲                                │
//	                        └──────────── mark ◀─────────────┘
//
// Its one promise: nothing that deserves a message is lost, and nobody waits for
// it. A medium that is away for an hour delays messages and nothing else; a
// message that the medium refuses is set aside and blocks no other. A process
// that dies between sending and marking repeats at most one message.
//
// It decides nothing about deployments and knows no medium, only [Sender].
package notify

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"rollback-agent/agent"
)

// Store is where events come from and where the outbox is.
type Store interface {
	Outbox() (deliveries []agent.Delivery, told uint64, err error)
	PutOutbox(told uint64, put []agent.Delivery, drop []string) error
	Events(after uint64, limit int) ([]agent.Event, error)
	LastEvent() (uint64, error)
	Deployment(id int64) (agent.Deployment, error)
	Service(name string) (agent.ServiceRecord, error)
	Release(service string, number int64) (agent.Release, error)
	Changed() <-chan struct{}
}

// Settings say who is told of what.
type Settings struct {
	Sender Sender // nil: nobody
	On     []Occasion
	Host   string
}

// Notifier tells people. Its zero value is not usable: see [New].
type Notifier struct {
	log   *slog.Logger
	store Store
	woken chan struct{} // room for one

	mu       sync.Mutex
	settings Settings
	trouble  Trouble

	// Owned by Run.
	outbox  map[string]agent.Delivery
	told    uint64
	using   Settings
	unsaved map[string]bool // deliveries that the store does not have as they are
	tries   map[string]int  // failed ones of this process: others go first
	pause   time.Duration   // after a failure, longer each time
	quiet   time.Time       // nothing is sent before
}

// Trouble is why people may not hear what they should.
type Trouble struct {
	Since   time.Time
	Error   string // "" for none
	Hint    string
	Waiting int      // messages that wait for it to end
	Refused []string // messages that were set aside, and why
}

// New returns a Notifier that has not looked at anything yet.
func New(log *slog.Logger, store Store, settings Settings) *Notifier {
	return &Notifier{
		log: log, store: store, woken: make(chan struct{}, 1), settings: settings,
		unsaved: map[string]bool{}, tries: map[string]int{},
	}
}

// Use tells the notifier of other settings. It never blocks.
func (n *Notifier) Use(settings Settings) {
	n.mu.Lock()
	n.settings = settings
	n.mu.Unlock()
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// Trouble tells why people may not hear what they should.
func (n *Notifier) Trouble() Trouble {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trouble
}

// The pauses after a failure, and how soon a store that cannot be used is asked
// again.
const (
	pauseFirst   = time.Second
	pauseLongest = time.Minute
)

// Run tells people until ctx ends. What was not told then is told by the next
// process.
func (n *Notifier) Run(ctx context.Context) error {
	for {
		changed := n.store.Changed() // taken before reading, so that nothing is missed in between
		n.takeSettings()
		next, err := n.round(ctx)
		if err != nil && ctx.Err() == nil {
			n.log.Error("people cannot be told", "error", err)
			next = time.Now().Add(pauseLongest)
		}
		n.report()
		if !n.wait(ctx, changed, next) {
			n.leave()
			return nil
		}
	}
}

// round collects what is new and sends what is due. It returns when to look again
// if nothing happens before; zero for never.
func (n *Notifier) round(ctx context.Context) (time.Time, error) {
	if err := n.load(); err != nil {
		return time.Time{}, err
	}
	if n.using.Sender == nil {
		return time.Now().Add(hourly), n.skip()
	}
	if err := n.collect(time.Now()); err != nil {
		return time.Time{}, err
	}
	return n.deliver(ctx)
}

// load reads the outbox once.
func (n *Notifier) load() error {
	if n.outbox != nil {
		return nil
	}
	deliveries, told, err := n.store.Outbox()
	if err != nil {
		return err
	}
	outbox := make(map[string]agent.Delivery, len(deliveries))
	for _, d := range deliveries {
		outbox[d.Key] = d
	}
	n.outbox, n.told = outbox, told
	return nil
}

// skip passes over everything that happened until now, and forgets what was told: who
// is told again one day is told of what is news then.
func (n *Notifier) skip() error {
	last, err := n.store.LastEvent()
	if err != nil || last == n.told && len(n.outbox) == 0 {
		return err
	}
	gone := slices.Collect(maps.Keys(n.outbox))
	if err := n.store.PutOutbox(last, nil, gone); err != nil {
		return err
	}
	n.told = last
	clear(n.outbox)
	clear(n.unsaved)
	clear(n.tries)
	return nil
}

// takeSettings begins to use what Use said last. What happened while nobody was to
// be told stays untold.
func (n *Notifier) takeSettings() {
	n.mu.Lock()
	before := n.using
	n.using = n.settings
	n.mu.Unlock()
	if n.outbox == nil || n.using.Sender == before.Sender {
		return
	}
	n.pause, n.quiet = 0, time.Time{}
	if before.Sender == nil {
		if err := n.skip(); err != nil {
			n.log.Error("people cannot be told", "error", err)
		}
	}
}

// leave notes, where nobody is told, that nothing is to be told of what happened.
func (n *Notifier) leave() {
	if n.using.Sender != nil || n.outbox == nil {
		return
	}
	if err := n.skip(); err != nil {
		n.log.Warn("what happened may be told later", "error", err)
	}
}

func (n *Notifier) wait(ctx context.Context, changed <-chan struct{}, next time.Time) bool {
	var timeout <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		timeout = timer.C
	}
	if n.using.Sender == nil {
		changed = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-n.woken:
	case <-timeout:
	}
	return true
}
