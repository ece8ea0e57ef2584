// Package control is how commands talk to the running agent: HTTP and JSON over
// a unix socket.
//
// Its one promise: nothing secret leaves through the socket, and every order
// carries who gave it, as the kernel says and not as the request says. It
// decides nothing; orders go to the [Backend] as they are.
//
//	GET  /v1/version
//	GET  /v1/status                 []agent.Status
//	GET  /v1/notices                []agent.Notice
//	GET  /v1/plan                   []Plan          service
//	GET  /v1/deployments            []Deployment    service, before, limit
//	GET  /v1/deployments/{id}       Deployment
//	GET  /v1/releases/{service}/{n} agent.Release   without its snapshot
//	GET  /v1/events                 agent.Event, one a line; after, last, limit, follow
//	POST /v1/orders                 agent.Order → agent.Receipt
//
// An error is {"error": …, "hint": …} with a status of 400 and above.
package control

import (
	"context"

	"rollback-agent/agent"
)

// Backend is the agent behind the socket. It is safe for concurrent use.
type Backend interface {
	// Order does what a human asks, or says why not. It returns when the order is
	// accepted, not when it is done.
	Order(ctx context.Context, order agent.Order) (agent.Receipt, error)
	Status(ctx context.Context) ([]agent.Status, error)
	// Notices is what a human should know of the host as a whole.
	Notices(ctx context.Context) ([]agent.Notice, error)
	Past
}

// Past is what is recorded, newest deployments first, events oldest first.
type Past interface {
	Deployments(filter agent.HistoryFilter) ([]agent.Deployment, error)
	Deployment(id int64) (agent.Deployment, error)
	Release(service string, number int64) (agent.Release, error)
	Events(after uint64, limit int) ([]agent.Event, error)
	// LastEvent is the number of the newest event.
	LastEvent() (uint64, error)
	// Changed is closed when anything more was recorded.
	Changed() <-chan struct{}
}

// Plan is what is to be done about a service, and why.
type Plan struct {
	Service string     `json:"service"`
	Plan    agent.Plan `json:"plan"`
}

// Version is what runs behind the socket.
type Version struct {
	Version string `json:"version"`
}

// Problem is the body of every answer that is no success.
type Problem struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

// The limits of a page.
const (
	DefaultPage = 20
	MaxPage     = 1000
)
