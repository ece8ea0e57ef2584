package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/target"
	"rollback-agent/agent/target/compose"
)

// ProbeOptions say what is asked.
type ProbeOptions struct {
	World    bool // engines, registries, files, this host, the health of what runs, Slack
	SendTest bool // a message to Slack
}

// probeTime is how long one look may take.
const probeTime = 30 * time.Second

var errProbe = errors.New("no answer within " + probeTime.String())

// Probe asks the world about everything that the config names, and reports one
// finding after the other, in an order that is always the same. It needs no
// running agent and disturbs none; it changes nothing, but for the message that
// ProbeOptions.SendTest asks for.
func Probe(ctx context.Context, cfg *config.Config, options ProbeOptions, report func(agent.Finding)) {
	log := slog.New(slog.DiscardHandler)
	p := &probing{cfg: cfg, targets: kinds(cfg, log), report: report, log: log, wanted: map[string]agent.Wanted{}, running: map[string]agent.Running{}}
	p.resolve = registry.New(registry.Options{Log: log, Insecure: cfg.Registry.Insecure, DockerConfig: cfg.Registry.DockerConfig})
	defer p.close()
	if options.World {
		p.world(ctx)
	}
	if cfg.Slack.Configured() || options.SendTest {
		p.all(ctx, []question{{"slack", slackName(cfg.Slack), func(ctx context.Context) agent.Finding {
			return probeSlack(ctx, cfg.Slack, options.SendTest)
		}}})
	}
}

// world asks in the order in which one thing stands on another.
func (p *probing) world(ctx context.Context) {
	p.all(ctx, p.engines())
	p.all(ctx, p.services())
	p.all(ctx, p.images())
	p.all(ctx, p.files())
	p.all(ctx, p.host())
	p.all(ctx, p.instances())
	p.all(ctx, p.gates())
}

// probing is one Probe call.
type probing struct {
	cfg     *config.Config
	log     *slog.Logger
	targets map[string]target.Target
	resolve *registry.Resolver
	report  func(agent.Finding)

	mu      sync.Mutex
	wanted  map[string]agent.Wanted  // by service; those that could be loaded
	running map[string]agent.Running // by service; those that could be asked
}

// docker is what the compose target tells beyond what every target does.
type docker interface {
	Engine(ctx context.Context, svc agent.Service) (compose.Engine, error)
	Outline(ctx context.Context, svc agent.Service) (compose.Outline, error)
	Origin(ctx context.Context, svc agent.Service, ref string) (here, homemade bool, err error)
}

// docker is nil for a service that runs elsewhere.
func (p *probing) docker(svc agent.Service) docker {
	d, _ := p.targets[svc.Target].(docker)
	return d
}

// question is one look: what at, which one, and how.
type question struct {
	kind, name string
	look       func(ctx context.Context) agent.Finding
}

// all asks every question, some at a time, each within its time, and reports the
// answers in order.
func (p *probing) all(ctx context.Context, questions []question) {
	inOrder(ctx, questions, look, p.report)
}

// look does not wait for what cannot be interrupted: a file on a share that hangs.
func look(ctx context.Context, q question) agent.Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, errProbe)
	defer cancel()
	began := time.Now()
	answer := make(chan agent.Finding, 1)
	go func() {
		var f agent.Finding
		if err := contained(func() error { f = q.look(ctx); return nil }); err != nil {
			f = failed(err)
		}
		answer <- f
	}()
	var f agent.Finding
	select {
	case f = <-answer:
	case <-ctx.Done():
		select {
		case f = <-answer:
		case <-time.After(time.Second): // it may say better itself why it is late
			f = failed(context.Cause(ctx))
		}
	}
	f.Kind, f.Name, f.TookMS = q.kind, q.name, time.Since(began).Milliseconds()
	return f
}

func fine(format string, args ...any) agent.Finding {
	return agent.Finding{OK: true, Detail: fmt.Sprintf(format, args...)}
}

func doubtful(hint, format string, args ...any) agent.Finding {
	return agent.Finding{OK: true, Warning: true, Detail: fmt.Sprintf(format, args...), Hint: hint}
}

func failed(err error) agent.Finding {
	return agent.Finding{Detail: strings.ReplaceAll(err.Error(), "\n", "; "), Hint: agent.Hint(err)}
}

func (p *probing) close() {
	for _, t := range p.targets {
		if c, ok := t.(interface{ Close() error }); ok {
			_ = c.Close() // idle connections of a command that ends
		}
	}
}

func (p *probing) learn(svc agent.Service, wanted agent.Wanted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted[svc.Name] = wanted
}

func (p *probing) see(svc agent.Service, running agent.Running) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[svc.Name] = running
}
