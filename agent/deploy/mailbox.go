package deploy

import (
	"sync"

	"rollback-agent/agent"
)

// mailbox keeps observations until the worker has time for them. It never makes
// a target wait, which may hold what the worker is asking it for.
type mailbox struct {
	ready chan struct{}
	mu    sync.Mutex
	queue []agent.Observation
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

func (m *mailbox) put(o agent.Observation) {
	m.mu.Lock()
	m.queue = append(m.queue, o)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []agent.Observation {
	m.mu.Lock()
	defer m.mu.Unlock()
	queue := m.queue
	m.queue = nil
	return queue
}
