package compose

import (
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"rollback-agent/agent"
)

// maxAge is how long a load is trusted although no file changed: containers may
// have been given another project meanwhile.
const maxAge = 5 * time.Minute

// cached is the last load of a service. A hundred idle services are asked for
// every minute; loading them each time would be most of what the agent does.
type cached struct {
	wanted    agent.Wanted
	compose   agent.Compose
	overrides map[string]string
	stamps    map[string]fs.FileInfo
	at        time.Time
}

// unchanged returns the last load when it was made of the same config and the same
// overrides, and none of its files changed.
func (t *Target) unchanged(svc agent.Service) (agent.Wanted, bool) {
	t.mu.Lock()
	last, ok := t.loads[svc.Name]
	t.mu.Unlock()
	if !ok || time.Since(last.at) > maxAge || !reflect.DeepEqual(last.compose, svc.Compose) || !maps.Equal(last.overrides, svc.Overrides) {
		return agent.Wanted{}, false
	}
	if !sameStamps(last.stamps, stamp(last.wanted.Files)) {
		return agent.Wanted{}, false
	}
	return copied(last.wanted), true
}

// keep remembers a load, unless one of the files changed since before, that is
// while it was read.
func (t *Target) keep(svc agent.Service, wanted agent.Wanted, before map[string]fs.FileInfo) {
	after := stamp(wanted.Files)
	for file, was := range before {
		if now, ok := after[file]; ok && !same(was, now) {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loads[svc.Name] = cached{
		wanted: copied(wanted), compose: svc.Compose, overrides: maps.Clone(svc.Overrides), stamps: after, at: time.Now(),
	}
}

// stamp looks at files; nil stands for one that is absent.
func stamp(files []string) map[string]fs.FileInfo {
	stamps := make(map[string]fs.FileInfo, len(files))
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			info = nil
		}
		stamps[file] = info
	}
	return stamps
}

func sameStamps(a, b map[string]fs.FileInfo) bool {
	for file, was := range a {
		if !same(was, b[file]) {
			return false
		}
	}
	return len(a) == len(b)
}

func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// copied keeps what is remembered apart from what callers change.
func copied(w agent.Wanted) agent.Wanted {
	w.Artifacts = slices.Clone(w.Artifacts)
	w.Files = slices.Clone(w.Files)
	w.Sources = slices.Clone(w.Sources)
	w.Secrets = slices.Clone(w.Secrets)
	w.Warnings = slices.Clone(w.Warnings)
	return w
}
