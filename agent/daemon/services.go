package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

const (
	mendInterval = 5 * time.Second  // how often a service whose files are missing is looked at again
	stopLimit    = 45 * time.Second // for every worker to end what it has in hand
	configWatch  = "\x00config"     // no service can have this name
)

var errStopped = errors.New("the agent is stopping")

// runServices keeps a slot for each service, and takes a new config over whenever
// there is one. It ends when every worker has ended.
func (d *Daemon) runServices(ctx context.Context) error {
	d.adjust(ctx, d.config)
	d.watchConfig(d.config)
	if err := d.endAbandoned(); err != nil {
		return err
	}
	d.endStale()
	for {
		select {
		case <-ctx.Done():
			d.waitForWorkers()
			return context.Cause(ctx)
		case <-d.reload:
			if cfg := d.read(ctx); cfg != nil {
				d.takeOver(ctx, cfg)
			}
		}
	}
}

// endAbandoned lets deployments end whose service was taken out of the config while
// the agent was away.
func (d *Daemon) endAbandoned() error {
	unfinished, err := d.store.Unfinished()
	if err != nil {
		return fmt.Errorf("looking for open deployments: %w", err)
	}
	for _, dep := range unfinished {
		d.mu.Lock()
		_, known := d.slots[dep.Service]
		d.mu.Unlock()
		if !known {
			d.put(dep.Service, present{svc: &dep.Config})
			d.put(dep.Service, present{})
		}
	}
	return nil
}

func (d *Daemon) waitForWorkers() {
	done := make(chan struct{})
	go func() { d.workers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopLimit):
		d.log.Error("services did not end in time", "limit", stopLimit)
	}
}

// adjust tells every slot what the config says of it now.
func (d *Daemon) adjust(ctx context.Context, cfg *config.Config) {
	says := map[string]present{}
	for _, svc := range cfg.Services {
		says[svc.Name] = present{svc: &svc}
	}
	for name, broken := range cfg.Broken {
		says[name] = present{broken: &broken}
	}
	d.mu.Lock()
	d.ctx = ctx
	names := make([]string, 0, len(d.slots))
	for name := range d.slots {
		names = append(names, name)
	}
	d.mu.Unlock()
	for _, name := range names {
		if _, still := says[name]; !still {
			says[name] = present{}
		}
	}
	for name, p := range says {
		d.complain(name, p)
		d.put(name, p)
	}
}

// put hands a slot what the config says, and makes the slot where there is none.
func (d *Daemon) put(name string, p present) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.svc != nil {
		d.lastKnown[name] = *p.svc
	}
	s, known := d.slots[name]
	if !known {
		s = &slot{name: name, next: make(chan present, 1), now: p}
		_, s.disabled.told = d.recalled[disabledSubject(name)]
		d.slots[name] = s
		ctx := d.ctx
		d.workers.Go(func() { d.keep(ctx, s) })
		return
	}
	s.put(p)
}

// complain logs the faults of a service when they are new.
func (d *Daemon) complain(name string, p present) {
	if p.broken == nil {
		return
	}
	d.mu.Lock()
	s := d.slots[name]
	d.mu.Unlock()
	if s != nil {
		if before := d.told(s).broken; before != nil && before.Faults.Error() == p.broken.Faults.Error() {
			return
		}
	}
	for _, f := range p.broken.Faults {
		d.log.Error("service is disabled", "service", name, "fault", f.String(), "hint", f.Hint)
	}
}

// mend looks again at services whose own config is fine and whose files are not:
// they come and go without the config changing.
func (d *Daemon) mend(ctx context.Context) error {
	ticker := time.NewTicker(mendInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			d.tellDisabled(now)
			if d.mended() {
				d.Reload()
			}
		}
	}
}

func (d *Daemon) mended() bool {
	d.mu.Lock()
	cfg := d.config
	var waiting []agent.Service
	for _, s := range d.slots {
		if b := s.now.broken; b != nil && b.Mendable {
			waiting = append(waiting, b.Service)
		}
	}
	d.mu.Unlock()
	return slices.ContainsFunc(waiting, func(svc agent.Service) bool { return len(cfg.Check(svc)) == 0 })
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
