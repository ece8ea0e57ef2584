package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rollback-agent/agent"
)

const (
	// aliveFile is there while the agent runs, and after it was killed. Its time is
	// when the agent was last known to run.
	aliveFile = "alive"
	// heartbeat is how exactly that is known.
	heartbeat = 15 * time.Second
)

// wake tells people when the agent was killed: nothing was watched since.
func (d *Daemon) wake() {
	info, err := os.Stat(d.alivePath())
	now := time.Now()
	if err == nil {
		last := info.ModTime()
		message := fmt.Sprintf("the agent was down %s–%s (%s), nothing was watched", clock(last, now), clock(now, now), now.Sub(last).Round(time.Second))
		if last.After(now) {
			message = fmt.Sprintf("the agent was down until %s, nothing was watched; since when is not known: the clock went back", clock(now, now))
		}
		d.log.Warn("the agent was not stopped in order", "last_alive", last)
		d.tell("", agent.ReasonDown, message, agent.SeverityWarning)
	}
	if err := os.WriteFile(d.alivePath(), nil, 0o600); err != nil {
		d.log.Warn("the agent cannot note that it runs", "error", err)
	}
}

// clock shows a time of today without its day.
func clock(t, today time.Time) string {
	t, today = t.Local(), today.Local()
	if t.YearDay() == today.YearDay() && t.Year() == today.Year() {
		return t.Format("15:04")
	}
	return t.Format("Jan 2 15:04")
}

// beat notes that the agent runs until ctx ends.
func (d *Daemon) beat(ctx context.Context) error {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			now := time.Now()
			d.stoodStill(last, now)
			last = now
			err := os.Chtimes(d.alivePath(), now, now)
			if errors.Is(err, fs.ErrNotExist) {
				err = os.WriteFile(d.alivePath(), nil, 0o600)
			}
			if err != nil {
				d.log.Debug("the agent cannot note that it runs", "error", err)
			}
		}
	}
}

// still is how long a beat may be late before people hear of it.
const still = 2 * time.Minute

// stoodStill tells people when the whole host was paused, or the process was: nothing
// was watched, although nobody ended the agent. By the wall clock: the other one stops
// with the host.
func (d *Daemon) stoodStill(last, now time.Time) {
	pause := now.Round(0).Sub(last.Round(0))
	if pause < still {
		return
	}
	message := fmt.Sprintf("the agent stood still %s–%s (%s), or the clock was set: nothing was watched", clock(last, now), clock(now, now), pause.Round(time.Second))
	d.log.Warn("the agent stood still", "since", last)
	d.tell("", agent.ReasonDown, message, agent.SeverityWarning)
}

// sleep notes that the agent ended in order.
func (d *Daemon) sleep() {
	if err := os.Remove(d.alivePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("the agent cannot note that it ended", "error", err)
	}
}

func (d *Daemon) alivePath() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return filepath.Join(d.config.StateDir, aliveFile)
}
