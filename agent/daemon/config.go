package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
)

// acceptedFile holds the last config that was accepted, for a start with one that
// cannot be.
const acceptedFile = "config.accepted.json"

// load reads the config. One that cannot be used at all gives way to the last one
// that could, loudly; without one the agent does not start.
func load(options Options) (*config.Config, error) {
	cfg, faults := config.Load(options.Config)
	if len(faults) > 0 {
		accepted, err := acceptedConfig(options, cfg)
		if err != nil {
			return nil, faults
		}
		newLog(accepted.Log).Error("config cannot be used, running with the last accepted one", "config", options.Config, "faults", faults.Error())
		cfg = accepted
	}
	if options.StateDir != "" {
		cfg.StateDir = options.StateDir
	}
	if options.Socket != "" {
		cfg.Socket = options.Socket
	}
	return cfg, nil
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
	if accepted.Path != cfg.Path {
		return nil, errors.New("the last accepted config was another file's")
	}
	return &accepted, nil
}

// rememberConfig keeps the config that is in use, for a start with a broken one.
func (d *Daemon) rememberConfig() error {
	text, err := json.Marshal(d.config)
	if err != nil {
		return fmt.Errorf("remembering the config: %w", err)
	}
	path := filepath.Join(d.config.StateDir, acceptedFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("remembering the config: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Reload reads the config again and hands it to the services. A config that cannot
// be used changes nothing and says why.
func (d *Daemon) Reload() {
	cfg, faults := config.Load(d.options.Config)
	if len(faults) > 0 {
		for _, f := range faults {
			d.log.Error("config is not taken over", "fault", f.String(), "hint", f.Hint)
		}
		d.tellAgent("the config was not taken over: "+faults.Error(), agent.SeverityError)
		return
	}
	d.mu.Lock()
	cfg.StateDir, cfg.Socket = d.config.StateDir, d.config.Socket // these need a restart
	d.mu.Unlock()
	select {
	case <-d.reload: // an older one that nobody has taken yet
	default:
	}
	d.reload <- cfg
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
