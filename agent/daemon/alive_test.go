package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/history"
)

func TestAliveAcrossReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := &Daemon{log: slog.New(slog.DiscardHandler), config: &config.Config{StateDir: dir}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			if err := d.beat(ctx); err != nil {
				t.Error(err)
			}
		}()
		for range 3 {
			time.Sleep(heartbeat)
			d.mu.Lock()
			d.config = &config.Config{StateDir: dir} // as takeOver does
			d.mu.Unlock()
		}
		synctest.Wait()
		info, err := os.Stat(filepath.Join(dir, aliveFile))
		if err != nil || !info.ModTime().Equal(time.Now()) {
			t.Errorf("got %v, %v, want the time of the last beat", info, err)
		}
	})
}

func TestWakeAfterAKill(t *testing.T) {
	for name, c := range map[string]struct {
		last time.Duration
		want string // "": nothing is told
	}{
		"killed":            {-3 * time.Hour, "(3h0m0s), nothing was watched"},
		"clock went back":   {3 * time.Hour, "the clock went back"},
		"stopped in order":  {0, ""},
		"killed a beat ago": {-heartbeat, "(15s), nothing was watched"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store, err := history.Open(filepath.Join(dir, historyFile), history.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			d := &Daemon{store: store, log: slog.New(slog.DiscardHandler), config: &config.Config{StateDir: dir}}
			if at := time.Now().Add(c.last); c.last != 0 {
				if err := os.WriteFile(d.alivePath(), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(d.alivePath(), at, at); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second start follows an end in order
				d.wake()
				d.sleep()
			}
			events, err := store.Events(0, 0)
			switch {
			case err != nil:
				t.Fatal(err)
			case c.want == "" && len(events) > 0:
				t.Errorf("got %+v, want nothing told", events)
			case c.want != "" && (len(events) != 1 || events[0].Reason != agent.ReasonDown || !strings.Contains(events[0].Message, c.want)):
				t.Errorf("got %+v, want …%s… told once", events, c.want)
			}
		})
	}
}
