// Package gate asks a service whether it is healthy: over HTTP, over TCP, by a
// command on the host or inside a container.
//
// Its one promise: every answer is a fresh one. No connection is reused, no
// redirect followed, no proxy used, and a probe that hangs delays no other.
//
// It counts nothing and judges nothing; that is package judge. Containers and
// their HEALTHCHECK are the target's to observe.
package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rollback-agent/agent"
)

// Execer runs argv inside an instance of the named artifact of a service and
// returns its combined output and its exit code. An error that wraps
// [agent.ErrUnreachable] says that the instance could not be asked.
type Execer interface {
	Exec(ctx context.Context, svc agent.Service, artifact string, argv []string) (output string, code int, err error)
}

// Probe is one question to a service.
type Probe struct {
	Gate    string // http, tcp or command
	timeout time.Duration
	ask     func(ctx context.Context) answer
}

// answer is what a probe found out.
type answer struct {
	passed bool
	detail string
	// unknown says that nobody could be asked: neither health nor sickness.
	unknown bool
}

// Probes returns the probes that the service's config asks for. exec may be nil
// where no command runs inside a container.
func Probes(svc agent.Service, exec Execer) []Probe {
	var probes []Probe
	add := func(name string, ask func(context.Context) answer) {
		probes = append(probes, Probe{name, svc.Health.Timeout, ask})
	}
	if svc.Health.URL != "" {
		add("http", func(ctx context.Context) answer { return askHTTP(ctx, svc.Health) })
	}
	if svc.Health.TCP != "" {
		add("tcp", func(ctx context.Context) answer { return askTCP(ctx, svc.Health.TCP) })
	}
	switch {
	case len(svc.Health.Command) == 0:
	case svc.Health.In == "":
		add("command", func(ctx context.Context) answer { return askHost(ctx, svc) })
	default:
		add("command", func(ctx context.Context) answer { return askInside(ctx, svc, exec) })
	}
	return probes
}

// Look asks once, for as long as the service's health_timeout. ok is false when
// there is no sample: ctx ended, or nobody could be asked.
func (p Probe) Look(ctx context.Context) (sample agent.Sample, ok bool) {
	began := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no answer within %s", p.timeout))
	defer cancel()
	a := p.ask(limited)
	now := time.Now()
	sample = agent.Sample{At: now, Gate: p.Gate, Passed: a.passed, Detail: a.detail, Took: now.Sub(began)}
	if a.unknown || ctx.Err() != nil {
		return sample, false
	}
	return sample, true
}

// Run asks every probe of the service at once and then every health_interval,
// until ctx ends. A look that takes longer than the interval makes the next one
// of the same probe late, and of no other. report is never called concurrently,
// and not after Run has returned.
func Run(ctx context.Context, svc agent.Service, exec Execer, report func(agent.Sample)) {
	var one sync.Mutex
	var all sync.WaitGroup
	for _, probe := range Probes(svc, exec) {
		all.Go(func() {
			probe.repeat(ctx, svc.Health.Interval, func(s agent.Sample) {
				one.Lock()
				defer one.Unlock()
				if ctx.Err() == nil {
					report(s)
				}
			})
		})
	}
	all.Wait()
	<-ctx.Done()
}

func (p Probe) repeat(ctx context.Context, interval time.Duration, report func(agent.Sample)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if sample, ok := p.Look(ctx); ok {
			report(sample)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// askInside runs the command inside the container that the config names.
func askInside(ctx context.Context, svc agent.Service, exec Execer) answer {
	if exec == nil {
		return answer{detail: "a command cannot run inside " + svc.Health.In + " here"}
	}
	output, code, err := exec.Exec(ctx, svc, svc.Health.In, svc.Health.Command)
	switch {
	case errors.Is(err, agent.ErrUnreachable):
		return answer{unknown: true, detail: err.Error()}
	case err != nil:
		return answer{detail: explain(ctx, err)}
	}
	return exited(code, output)
}
