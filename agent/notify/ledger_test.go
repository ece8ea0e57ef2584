package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

// ledger is a store in memory that can break.
type ledger struct {
	mu      sync.Mutex
	events  []agent.Event
	outbox  map[string]agent.Delivery
	told    uint64
	changed chan struct{}
	full    bool // nothing can be written
}

func newLedger() *ledger {
	return &ledger{outbox: map[string]agent.Delivery{}, changed: make(chan struct{})}
}

func (l *ledger) record(e agent.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq, e.At = uint64(len(l.events)+1), time.Now()
	l.events = append(l.events, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ledger) fill(full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = full
}

func (l *ledger) Outbox() ([]agent.Delivery, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []agent.Delivery
	for _, d := range l.outbox {
		all = append(all, d)
	}
	return all, l.told, nil
}

func (l *ledger) PutOutbox(told uint64, put []agent.Delivery, drop []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full {
		return errors.New("no space left on device")
	}
	l.told = max(l.told, told)
	for _, d := range put {
		l.outbox[d.Key] = d
	}
	for _, key := range drop {
		delete(l.outbox, key)
	}
	return nil
}

func (l *ledger) Events(after uint64, limit int) ([]agent.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.events[after:]
	return slices.Clone(found[:min(limit, len(found))]), nil
}

func (l *ledger) LastEvent() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.events)), nil
}

func (l *ledger) Deployment(id int64) (agent.Deployment, error) {
	return agent.Deployment{}, fmt.Errorf("there is no deployment %d", id)
}

func (l *ledger) Service(name string) (agent.ServiceRecord, error) {
	return agent.ServiceRecord{Name: name}, nil
}

func (l *ledger) Release(string, int64) (agent.Release, error) {
	return agent.Release{}, errors.New("there is no release")
}

func (l *ledger) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// believer is somebody who only knows what the messages say.
type believer struct {
	mu     sync.Mutex
	medium func() error // what becomes of a Send
	lost   bool         // messages arrive, their answers do not
	broken bool         // what is believed
	unsure bool         // a message may have arrived, as far as its sender knows
	last   time.Time    // when the last trouble was told and answered
	faults []string
}

func (b *believer) Updates() bool { return false }

func (b *believer) Send(_ context.Context, m Message, _ Attempt) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.medium(); err != nil {
		b.unsure = b.unsure || !rejected(err)
		return "", err
	}
	good := m.Icon == IconGood
	switch now := time.Now(); {
	case b.unsure: // at least once
	case good && !b.broken:
		b.faults = append(b.faults, "told that it works again who never knew otherwise")
	case !good && !b.last.IsZero() && now.Sub(b.last) < time.Hour:
		b.faults = append(b.faults, fmt.Sprintf("told of the trouble %s after the last time", now.Sub(b.last)))
	}
	if !good && !b.lost {
		b.last = time.Now()
	}
	b.broken, b.unsure = !good, b.lost
	if b.lost {
		return "", errors.New("no answer in time")
	}
	return "", nil
}

func (b *believer) become(medium error, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.medium, b.lost = func() error { return medium }, lost
}

// Whatever the order in which a trouble, its end, an hour, a medium that is away and
// a restart come: people are told of the trouble hourly at most, of its end only if
// they heard of the trouble, and within an hour they believe what is true.
func TestPeopleBelieveWhatIsTrue(t *testing.T) {
	steps := map[rune]string{
		'b': "trouble", 'g': "mended", 'm': "a minute", 'h': "half an hour", 'H': "an hour", 'd': "medium down", 'l': "answers lost", 'B': "medium busy", 'u': "medium up", 'k': "restart",
	}
	letters := []rune("bbbgggmmhHdlBuuk")
	random := rand.New(rand.NewPCG(1, 2))
	synctest.Test(t, func(t *testing.T) {
		for range 600 {
			sequence := make([]rune, 12)
			for i := range sequence {
				sequence[i] = letters[random.IntN(len(letters))]
			}
			if faults := play(t, sequence); len(faults) > 0 {
				var words []string
				for _, s := range sequence {
					words = append(words, steps[s])
				}
				t.Fatalf("after %s (%s): %s", string(sequence), strings.Join(words, ", "), strings.Join(faults, "; "))
			}
		}
	})
}

func play(t *testing.T, sequence []rune) []string {
	store, b := newLedger(), &believer{}
	b.become(nil, false)
	stop := atWork(t, store, b)
	truth := false
	for _, step := range sequence {
		switch step {
		case 'b':
			truth = true
			store.record(agent.Event{Kind: agent.EventTrouble, Subject: "registry r", Message: "no answer"})
		case 'g':
			truth = false
			store.record(agent.Event{Kind: agent.EventMended, Subject: "registry r", Message: "answers"})
		case 'm':
			pass(time.Minute)
		case 'h':
			pass(30 * time.Minute)
		case 'H':
			pass(time.Hour)
		case 'd':
			b.become(errors.New("connection refused"), false)
		case 'B':
			b.become(&BusyError{After: time.Minute}, false)
		case 'l':
			b.become(nil, true)
		case 'u':
			b.become(nil, false)
		case 'k':
			stop()
			stop = atWork(t, store, b)
		}
		synctest.Wait()
	}
	b.become(nil, false)
	pass(time.Hour + 2*pauseLongest)
	stop()
	if b.broken != truth {
		b.faults = append(b.faults, fmt.Sprintf("got people who believe that the trouble lasts: %t, want %t", b.broken, truth))
	}
	for _, d := range store.outbox {
		if d.Pending() {
			b.faults = append(b.faults, "it is still pending")
		}
	}
	return b.faults
}

// atWork runs a notifier that tells one medium what a store says.
func atWork(t *testing.T, store Store, sender Sender) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	n := New(slog.New(slog.DiscardHandler), store, Settings{Sender: sender, On: usual, Host: "vm-1"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return func() { cancel(); <-done }
}
