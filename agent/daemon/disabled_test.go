package daemon

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/history"
)

// quietDaemon has a history and runs nothing.
func quietDaemon(t *testing.T) *Daemon {
	t.Helper()
	dir := t.TempDir()
	store, err := history.Open(filepath.Join(dir, historyFile), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &Daemon{store: store, log: slog.New(slog.DiscardHandler), config: &config.Config{StateDir: dir}, slots: map[string]*slot{}}
}

// recorded are the events of a quiet daemon, as "kind subject".
func (d *Daemon) recorded(t *testing.T) []string {
	t.Helper()
	events, err := d.store.Events(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s %s%s", e.Kind, e.Subject, e.Service))
	}
	return lines
}

func TestPeopleAreToldOfADisabledService(t *testing.T) {
	d, now := quietDaemon(t), time.Now()
	s := &slot{name: "web"}
	d.slots["web"] = s
	faulty := present{broken: &config.Broken{Faults: agent.Faults{{Message: "unknown key"}}}}
	for _, step := range []struct {
		now   present
		after time.Duration
		want  []string
	}{
		{present{svc: &agent.Service{}}, 0, nil},
		{faulty, 0, nil},
		{faulty, disabledPatience / 2, nil},
		{present{svc: &agent.Service{}}, time.Second, nil}, // it was being edited
		{faulty, time.Second, nil},
		{faulty, disabledPatience, []string{"trouble config of web"}},
		{faulty, time.Hour, []string{"trouble config of web"}},
		{present{svc: &agent.Service{}}, time.Second, []string{"trouble config of web", "mended config of web"}},
	} {
		now = now.Add(step.after)
		s.now = step.now
		d.tellDisabled(now)
		if got := d.recorded(t); !slices.Equal(got, step.want) {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

// Nobody is reminded for ever of a service that is gone.
func TestTroublesEndWithTheirService(t *testing.T) {
	d := quietDaemon(t)
	for name, record := range map[string]agent.ServiceRecord{
		"here": {Invalid: "no such file", Critical: true}, "gone": {Invalid: "no such file", Critical: true}, "fine": {},
	} {
		record.Name = name
		if _, err := d.store.Record(agent.Entry{Service: &record}); err != nil {
			t.Fatal(err)
		}
	}
	d.slots["here"] = &slot{name: "here"}
	for _, name := range []string{"here", "never"} {
		d.record(agent.Event{Kind: agent.EventTrouble, Subject: disabledSubject(name)})
	}
	before := len(d.recorded(t))
	for range 2 {
		d.endStale()
	}
	got := d.recorded(t)[before:]
	slices.Sort(got)
	if want := []string{"mended config of never", "valid gone"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, want := range map[string]bool{"here": true, "gone": false} {
		if record, err := d.store.Service(name); err != nil || record.Critical != want || record.Invalid == "" == want {
			t.Errorf("got %+v, %v, want trouble with %s: %t", record, err, name, want)
		}
	}
}
