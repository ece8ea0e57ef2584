package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

const (
	// acceptedFile holds the last config that was accepted, for a start with one
	// that cannot be.
	acceptedFile = "config.accepted.json"
	// A config is read when nobody has written to it for a while, and read twice
	// when a service is missing from it: it may be half-written.
	configQuiet   = 500 * time.Millisecond
	configConfirm = time.Second
)

// load reads the config. One that cannot be used at all gives way to the last one
// that could; without one the agent does not start.
func load(options Options) (cfg *config.Config, rejected agent.Faults, err error) {
	cfg, faults := config.Load(options.Config)
	if len(faults) > 0 {
		accepted, err := acceptedConfig(options, cfg)
		if err != nil {
			return nil, nil, faults
		}
		accepted.Files = union(accepted.Files, cfg.Files)
		cfg = accepted
	}
	if options.StateDir != "" {
		cfg.StateDir = options.StateDir
	}
	if options.Socket != "" {
		cfg.Socket = options.Socket
	}
	return cfg, faults, nil
}

func acceptedConfig(options Options, cfg *config.Config) (*config.Config, error) {
	dir := cfg.StateDir
	if options.StateDir != "" {
		dir = options.StateDir
	}
	text, err := os.ReadFile(filepath.Join(dir, acceptedFile))
	if err != nil {
		return nil, err
	}
	var accepted config.Config
	if err := json.Unmarshal(text, &accepted); err != nil {
		return nil, fmt.Errorf("reading the last accepted config: %w", err)
	}
	if accepted.Path != cfg.Path || options.StateDir == "" && accepted.StateDir != dir {
		return nil, errors.New("the last accepted config was another one's")
	}
	return &accepted, nil
}

// rememberConfig keeps the config that is in use, for a start with a broken one. It
// is a convenience: where it cannot be written, the log says so.
func (d *Daemon) rememberConfig(cfg *config.Config) {
	path := filepath.Join(cfg.StateDir, acceptedFile)
	text, err := json.Marshal(cfg)
	if err == nil {
		err = errors.Join(os.RemoveAll(path+".new"), os.WriteFile(path+".new", text, 0o600))
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		d.log.Warn("the config in use cannot be remembered", "error", err)
	}
}

// Reload asks for the config to be read again. It never blocks.
func (d *Daemon) Reload() {
	select {
	case d.reload <- struct{}{}:
	default:
	}
}

// read loads the config once its files are quiet. One that cannot be used changes
// nothing, and is told once. It is nil then.
func (d *Daemon) read(ctx context.Context) *config.Config {
	if !rest(ctx, configQuiet) {
		return nil
	}
	cfg, faults := config.Load(d.options.Config)
	if len(faults) == 0 && d.misses(cfg) {
		if !rest(ctx, configConfirm) {
			return nil
		}
		cfg, faults = config.Load(d.options.Config)
	}
	if len(faults) == 0 {
		d.configAccepted()
		return cfg
	}
	d.watchConfig(cfg)
	if d.configRejected(faults) {
		for _, f := range faults {
			d.log.Error("config is not taken over", "fault", f.String(), "hint", f.Hint)
		}
		d.record(configTrouble("the config was not taken over: " + faults.Error()))
	}
	return nil
}

// misses tells whether a service that the agent has in hand is not in cfg.
func (d *Daemon) misses(cfg *config.Config) bool {
	has := map[string]bool{}
	for _, svc := range cfg.Services {
		has[svc.Name] = true
	}
	for name := range cfg.Broken {
		has[name] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Keys(d.slots)), func(name string) bool { return !has[name] })
}

// takeOver makes cfg the config in force.
func (d *Daemon) takeOver(ctx context.Context, cfg *config.Config) {
	d.mu.Lock()
	before := d.config
	if !reflect.DeepEqual(before.Log, cfg.Log) || !sameRegistries(before.Registry, cfg.Registry) {
		d.log.Warn("[log], and insecure and docker_config of [registry], are taken over at the next start")
	}
	cfg.StateDir, cfg.Socket = before.StateDir, before.Socket // so are these
	d.config = cfg
	d.mu.Unlock()
	d.images.SetInterval(cfg.Registry.PollInterval)
	d.people.Use(d.settings(cfg))
	d.log.Info("config taken over", "services", len(cfg.Services), "broken", len(cfg.Broken))
	d.adjust(ctx, cfg)
	d.watchConfig(cfg)
	d.rememberConfig(cfg)
}

// sameRegistries compares what is only read at the start.
func sameRegistries(a, b config.Registry) bool {
	return slices.Equal(a.Insecure, b.Insecure) && a.DockerConfig == b.DockerConfig
}

// watchConfig watches the files of the config in force and of the one that was
// read: a rejected one is mended in its own files. What is new to the watcher may
// have changed since it was read.
func (d *Daemon) watchConfig(read *config.Config) {
	d.mu.Lock()
	files := union(d.config.Files, read.Files)
	d.mu.Unlock()
	if d.watcher.Set(configWatch, files, configQuiet) {
		d.Reload()
	}
}

func union(a, b []string) []string {
	both := slices.Concat(a, b)
	slices.Sort(both)
	return slices.Compact(both)
}

func rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// newLog writes to stderr: without timestamps under journald, which has its own.
func newLog(cfg config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: level(cfg.Level)}
	if os.Getenv("JOURNAL_STREAM") != "" {
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

func level(name string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(name)) != nil {
		return slog.LevelInfo
	}
	return l
}
