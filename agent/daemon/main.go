package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/kardianos/service"
)

// errSecondSignal ends the agent at once.
var errSecondSignal = errors.New("stopped by a second signal")

// Main runs the agent as a service of the operating system, or in a terminal,
// until it is told to stop. SIGTERM and SIGINT stop it in order, a second one at
// once; SIGHUP reads the config again. The returned error says why it could not
// start or go on.
func Main(ctx context.Context, options Options) error {
	d, err := New(options)
	if err != nil {
		return err
	}
	p := &program{ctx: ctx, daemon: d, done: make(chan struct{})}
	s, err := service.New(p, &service.Config{
		Name:   "rollback-agent",
		Option: service.KeyValue{"RunWait": func() { <-p.done }},
	})
	if err != nil {
		return errors.Join(fmt.Errorf("preparing the service: %w", err), d.close())
	}
	return s.Run()
}

// program is the daemon as kardianos/service wants it: Start must return, and what
// Stop returns is what Run returns.
type program struct {
	ctx    context.Context
	daemon *Daemon
	done   chan struct{}
	err    error
}

func (p *program) Start(service.Service) error {
	go func() {
		defer close(p.done)
		p.err = p.daemon.runUntilSignal(p.ctx)
	}()
	return nil
}

func (p *program) Stop(service.Service) error {
	<-p.done
	return p.err
}

func (d *Daemon) runUntilSignal(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- contained(func() error { return d.Run(ctx) }) }()
	d.notify(sd.SdNotifyReady)
	for stopping := false; ; {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				d.Reload()
			case stopping:
				return errSecondSignal
			default:
				stopping = true
				d.log.Info("agent is stopping", "signal", s.String())
				d.notify(sd.SdNotifyStopping)
				stop(errStopped)
			}
		}
	}
}

// notify tells systemd, where it listens.
func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd was not told", "state", state, "error", err)
	}
}
