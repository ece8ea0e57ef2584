// Package daemon is the wiring: it knows every stage of the line, builds them,
// runs them and takes them down in reverse order.
//
// Its one promise: one broken service, or a panic in it, never stops another. It
// decides nothing about deployments.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/control"
	"rollback-agent/agent/deploy"
	"rollback-agent/agent/gate"
	"rollback-agent/agent/history"
	"rollback-agent/agent/notify"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/target"
	"rollback-agent/agent/watch"
)

// At most so many fetches and applies run at once on the host.
const (
	maxFetches = 2
	maxApplies = 2
)

// Options are what the command line says. Empty fields leave it to the config.
type Options struct {
	Config   string
	StateDir string
	Socket   string
	Version  string
	Log      *slog.Logger // nil: stderr, as the config says
}

// Daemon is the agent as a whole.
type Daemon struct {
	options Options
	log     *slog.Logger
	store   *history.Store
	server  *control.Server
	watcher *watch.Watcher
	targets map[string]target.Target
	images  *watch.Images
	people  *notify.Notifier
	limits  *deploy.Limits
	reload  chan struct{} // room for one

	rollbackDisabled bool

	workers sync.WaitGroup
	slack   config.Slack  // that sender was made of; owned by runServices
	sender  notify.Sender // nil: nobody is told

	mu        sync.Mutex
	rejected  rejected
	ctx       context.Context //nolint:containedctx // the lifetime of slots, which are made whenever the config says so
	config    *config.Config
	slots     map[string]*slot         // by name
	lastKnown map[string]agent.Service // the last good config of each slot
	recalled  map[string]agent.Event   // troubles that an earlier process told, by subject
}

// New opens everything that can fail before anything runs: config, history and
// socket. It starts nothing.
func New(options Options) (*Daemon, error) {
	cfg, faults, err := load(options)
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		options: options, config: cfg, log: options.Log,
		limits: deploy.NewLimits(maxFetches, maxApplies), slots: map[string]*slot{}, lastKnown: map[string]agent.Service{}, rejected: rejectedNow(faults),
		reload:           make(chan struct{}, 1),
		rollbackDisabled: os.Getenv(disableRollback) != "",
	}
	if d.log == nil {
		d.log = newLog(cfg.Log)
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// disableRollback is set by the test that proves that the demo's assertions bite.
const disableRollback = "ROLLBACK_AGENT_TEST_DISABLE_ROLLBACK"

func (d *Daemon) open() (err error) {
	cfg := d.config
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return agent.WithHint(fmt.Errorf("making the state directory: %w", err), "run the agent as the user that owns it, or set state_dir")
	}
	// The socket comes first: an agent that lives says so better than its lock does.
	if err := socketDir(filepath.Dir(cfg.Socket)); err != nil {
		return err
	}
	if d.server, err = control.Listen(cfg.Socket, control.ServerOptions{Log: d.log, Backend: d, Version: d.options.Version}); err != nil {
		return err
	}
	if d.store, err = history.Open(filepath.Join(cfg.StateDir, historyFile), history.Options{Logger: d.log}); err != nil {
		return err
	}
	resolver := registry.New(registry.Options{Log: d.log, Insecure: cfg.Registry.Insecure, DockerConfig: cfg.Registry.DockerConfig})
	d.images = watch.NewImages(d.log, resolver, cfg.Registry.PollInterval, d.changed, d.record)
	d.images.Recall(d.recall())
	d.people = notify.New(d.log, d.store, d.settings(cfg))
	d.targets = kinds(cfg, d.log)
	d.watcher = watch.New(d.log, 0, d.changed)
	return nil
}

const historyFile = "history.db"

// socketDir makes the directory of the socket, where it is missing, for the group
// that may use the socket.
func socketDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return agent.WithHint(fmt.Errorf("making the directory of the socket: %w", err), "set socket to a path that this user may make")
	}
	group, err := user.LookupGroup(control.Group)
	if err != nil {
		return nil // no such group: root's alone
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return fmt.Errorf("reading the id of group %s: %w", control.Group, err)
	}
	return os.Chown(dir, -1, gid)
}

// Run runs the agent until ctx ends, then stops every part, the socket last.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.closeLogged()
	if err := d.afterDamage(); err != nil {
		return err
	}
	d.log.Info("agent starts", "services", len(d.config.Services), "broken", len(d.config.Broken), "config", d.config.Path)
	d.greet()
	d.wake()
	group, ctx := errgroup.WithContext(ctx)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx)) // it answers while workers end
	group.Go(func() error { return d.server.Serve(serving) })
	group.Go(func() error { return d.watcher.Run(ctx) })
	group.Go(func() error { return d.images.Run(ctx) })
	group.Go(func() error { return d.people.Run(ctx) })
	group.Go(func() error { return d.beat(ctx) })
	group.Go(func() error { return d.mend(ctx) })
	group.Go(func() error { return d.giveBack(ctx) })
	group.Go(func() error {
		defer stopServing()
		return d.runServices(ctx)
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errStopped) {
		return err
	}
	d.sleep()
	return nil
}

// greet says loudly when the agent runs with another config than the file's.
func (d *Daemon) greet() {
	if d.rejected.why == "" {
		d.rememberConfig(d.config)
		d.configAccepted()
		return
	}
	d.log.Error("config cannot be used, running with the last accepted one", "config", d.options.Config, "faults", d.rejected.why)
	d.record(configTrouble("the config cannot be used, the last accepted one is in force: " + d.rejected.why))
}

func (d *Daemon) closeLogged() {
	if err := d.close(); err != nil {
		d.log.Error("closing", "error", err)
	}
	d.log.Info("agent stopped")
}

func (d *Daemon) close() error {
	var errs []error
	for _, t := range d.targets {
		if c, ok := t.(interface{ Close() error }); ok {
			errs = append(errs, c.Close())
		}
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.server != nil {
		errs = append(errs, d.server.Close())
	}
	return errors.Join(errs...)
}

// afterDamage pauses every service when the history had to be set aside: with it
// went the knowledge of what must not be deployed.
func (d *Daemon) afterDamage() error {
	path := d.store.Damaged()
	if path == "" {
		return nil
	}
	d.log.Error("history was damaged, automation is paused", "kept_as", path)
	note := "the history was damaged and is kept as " + path + "; what was quarantined is not known any more"
	names := slices.Collect(maps.Keys(d.config.Broken))
	for _, svc := range d.config.Services {
		names = append(names, svc.Name)
	}
	for _, name := range names {
		record := agent.ServiceRecord{Name: name, Pause: &agent.Pause{At: time.Now(), By: "agent", Reason: agent.ReasonLost, Note: note}}
		_, err := d.store.Record(agent.Entry{Service: &record, Event: &agent.Event{
			At: time.Now(), Kind: agent.EventPaused, Service: name, Reason: agent.ReasonLost, Message: note, Severity: agent.SeverityCritical,
		}})
		if err != nil {
			return fmt.Errorf("pausing service %q: %w", name, err)
		}
	}
	return nil
}

// changed hands a change of files to the worker of its service.
func (d *Daemon) changed(change agent.Change) {
	if change.Service == configWatch {
		d.Reload()
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.slots[change.Service]; s != nil && s.worker != nil {
		s.worker.Changed(change)
	}
}

// newWorker makes the worker of a service, with everything it works with.
func (d *Daemon) newWorker(svc agent.Service) *deploy.Worker {
	d.mu.Lock()
	keep := d.config.History.Keep
	d.mu.Unlock()
	t := d.targets[svc.Target]
	return deploy.New(svc, deploy.Options{
		Target: t, Resolver: d.images, Recorder: d.store, Limits: d.limits, Log: d.log,
		Probe: func(ctx context.Context, svc agent.Service, report func(agent.Sample)) {
			gate.Run(ctx, svc, t, report)
		},
		Before: before,
		Check:  d.checkFiles,
		Watch: func(name string, files, refs []string) bool {
			d.images.Set(name, refs)
			return d.watcher.Set(name, files, svc.Debounce)
		},
		KeepHistory:     keep,
		DisableRollback: d.rollbackDisabled,
	})
}

// checkFiles looks again at what the config was checked for when it was read, and at
// the files that those files lead to: files change hands.
func (d *Daemon) checkFiles(svc agent.Service, sources []string) error {
	d.mu.Lock()
	cfg := d.config
	d.mu.Unlock()
	faults := cfg.CheckFiles(svc, sources)
	if len(faults) == 0 {
		return nil
	}
	return agent.WithHint(faults, faults[0].Hint)
}

// before runs the command that a service wants run before each deployment.
func before(ctx context.Context, svc agent.Service) error {
	ctx, cancel := context.WithTimeoutCause(ctx, beforeTimeout, errBefore)
	defer cancel()
	output, err := gate.Command(ctx, svc.Name, svc.BeforeDeploy)
	if err != nil {
		return fmt.Errorf("running %s: %w: %s", svc.BeforeDeploy[0], err, output)
	}
	return nil
}

// beforeTimeout ends a command before a deployment that hangs.
const beforeTimeout = 10 * time.Minute

var errBefore = errors.New("before_deploy ran for more than ten minutes")
