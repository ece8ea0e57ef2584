package compose

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// How long the hub waits before it connects again.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

var errNobodyListens = errors.New("nobody listens any more")

// hub is the one event stream of an engine, shared by everybody who observes a
// project on it. It runs while somebody does.
//
//	engine ──stream──▶ hub ──by project──▶ listener ──▶ Observe
type hub struct {
	engine *engine

	mu        sync.Mutex
	listeners []*listener
	connected bool
	stop      context.CancelCauseFunc // of the running stream
	done      chan struct{}
}

// listener is one Observe call: what it has yet to look at.
type listener struct {
	project string

	mu    sync.Mutex
	queue []note
	more  chan struct{}
}

// note is what a listener is told: an event, or that the stream broke or came
// back.
type note struct {
	event      events.Message
	lost       error
	reconnects bool
}

func (l *listener) put(n note) {
	l.mu.Lock()
	l.queue = append(l.queue, n)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// take returns everything that was put since the last time.
func (l *listener) take() []note {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.queue
	l.queue = nil
	return queue
}

// listen begins to hand a project's events to a new listener. If the stream is
// up, the listener is told to look at once; else as soon as it is.
func (h *hub) listen(project string) *listener {
	l := &listener{project: project, more: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners = append(h.listeners, l)
	if h.connected {
		l.put(note{reconnects: true})
	}
	if h.stop == nil {
		ctx, stop := context.WithCancelCause(context.Background())
		h.stop, h.done = stop, make(chan struct{})
		go h.run(ctx, h.done) // ends with the last listener
	}
	return l
}

// leave ends a listener; the last one ends the stream, and waits for that.
func (h *hub) leave(l *listener) {
	h.mu.Lock()
	h.listeners = slices.DeleteFunc(h.listeners, func(other *listener) bool { return other == l })
	if len(h.listeners) > 0 {
		h.mu.Unlock()
		return
	}
	stop, done := h.stop, h.done
	h.stop, h.connected = nil, false
	h.mu.Unlock()
	stop(errNobodyListens)
	<-done
}

// run keeps the stream up until ctx ends.
func (h *hub) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		err := h.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		h.broadcast(ctx, note{lost: err})
		if time.Since(began) > lastWait {
			wait = firstWait
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, lastWait)
	}
}

// stream reads events until the stream breaks.
func (h *hub) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := h.ping(ctx); err != nil {
		return err
	}
	result := h.engine.client.Events(ctx, client.EventsListOptions{
		Filters: make(client.Filters).Add("type", string(events.ContainerEventType)).Add("label", api.ProjectLabel),
	})
	select {
	case err := <-result.Err:
		return h.engine.wrap(ctx, err, "following the engine's events")
	default:
	}
	h.broadcast(ctx, note{reconnects: true})
	for {
		select {
		case event := <-result.Messages:
			h.dispatch(ctx, event)
		case err := <-result.Err:
			if err == nil {
				err = io.EOF
			}
			return h.engine.wrap(ctx, err, "following the engine's events")
		}
	}
}

func (h *hub) ping(ctx context.Context) error {
	ctx, cancel := ask(ctx)
	defer cancel()
	_, err := h.engine.client.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	return h.engine.wrap(ctx, err, "connecting to the engine")
}

// dispatch hands an event to who listens to its project, unless ctx is of a
// stream that was replaced.
func (h *hub) dispatch(ctx context.Context, event events.Message) {
	project := event.Actor.Attributes[api.ProjectLabel]
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	for _, l := range h.listeners {
		if l.project == project {
			l.put(note{event: event})
		}
	}
}

// broadcast tells everybody, unless ctx is of a stream that was replaced.
func (h *hub) broadcast(ctx context.Context, n note) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	h.connected = n.reconnects
	for _, l := range h.listeners {
		l.put(n)
	}
}
