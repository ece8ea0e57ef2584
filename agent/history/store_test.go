package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"rollback-agent/agent"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openTemp(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "state", "history.db"))
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{LockTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func record(t testing.TB, s *Store, e agent.Entry) agent.Entry {
	t.Helper()
	got, err := s.Record(e)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func queued(service string) *agent.Deployment {
	return &agent.Deployment{Service: service, Kind: agent.KindDeploy, State: agent.StateQueued, StartedAt: start}
}

func ended(service string) *agent.Deployment {
	d := queued(service)
	d.State, d.EndedAt = agent.StateSucceeded, start.Add(time.Minute)
	return d
}

func stable(service string, n int64) agent.Release {
	return agent.Release{
		Service: service, Number: n, Standing: agent.StandingStable, Fingerprint: fmt.Sprint("1:", n),
		Snapshot: agent.Snapshot{Format: 1, Data: fmt.Append(nil, "snapshot ", n)}, CreatedAt: start,
	}
}

func ids(deployments []agent.Deployment) []int64 {
	list := []int64{}
	for _, d := range deployments {
		list = append(list, d.ID)
	}
	return list
}

func numbers(releases []agent.Release) []int64 {
	list := []int64{}
	for _, r := range releases {
		list = append(list, r.Number)
	}
	return list
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestRecordGivesNumbersAndKeepsEverything(t *testing.T) {
	s := openTemp(t)
	original := agent.Entry{
		Service:    &agent.ServiceRecord{Name: "web", Adopted: true, Last: 1},
		Deployment: queued("web"),
		Releases:   []agent.Release{stable("web", 1)},
		Quarantine: []agent.Quarantined{{Service: "web", Fingerprint: "1:bad", Reason: agent.ReasonCrash}},
		Event:      &agent.Event{Kind: agent.EventTransition, Service: "web", To: agent.StateQueued},
	}
	got := record(t, s, original)
	if got.Deployment.ID != 1 || got.Event.Seq != 1 || got.Event.Deployment != 1 || got.Quarantine[0].Deployment != 1 {
		t.Errorf("got deployment %d, event %d of %d, quarantine of %d, want 1 everywhere",
			got.Deployment.ID, got.Event.Seq, got.Event.Deployment, got.Quarantine[0].Deployment)
	}
	if original.Deployment.ID != 0 || original.Event.Seq != 0 || original.Quarantine[0].Deployment != 0 {
		t.Error("the entry that was passed in was changed")
	}
	path := s.Path()
	s.Close()

	s = openAt(t, path)
	d, err := s.Deployment(1)
	wantEqual(t, "deployment", d, *got.Deployment)
	wantEqual(t, "error", err, nil)
	service, _ := s.Service("web")
	wantEqual(t, "service", service, *got.Service)
	rel, _ := s.Release("web", 1)
	wantEqual(t, "release", rel, original.Releases[0])
	events, _ := s.Events(0, 0)
	wantEqual(t, "events", events, []agent.Event{*got.Event})
	quarantine, _ := s.Quarantine("web")
	wantEqual(t, "quarantine", quarantine, got.Quarantine)
	if next := record(t, s, agent.Entry{Deployment: queued("api")}); next.Deployment.ID != 2 {
		t.Errorf("got deployment %d after a restart, want 2", next.Deployment.ID)
	}
}

func TestUnknownThingsAreNamed(t *testing.T) {
	s := openTemp(t)
	if service, err := s.Service("web"); err != nil || service.Name != "web" || service.Adopted {
		t.Errorf("got %+v, %v, want only the name", service, err)
	}
	if _, err := s.Deployment(7); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "deployment 7") {
		t.Errorf("got %v, want deployment 7 not found", err)
	}
	if _, err := s.Release("web", 7); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "r7") {
		t.Errorf("got %v, want r7 not found", err)
	}
	gone := queued("web")
	gone.ID = 9
	if _, err := s.Record(agent.Entry{Deployment: gone}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v for a step of a deployment that never began, want not found", err)
	}
}

func TestRecordRefusesWholeEntry(t *testing.T) {
	big := stable("web", 2)
	big.Snapshot.Data = make([]byte, agent.MaxSnapshot+1)
	for name, faulty := range map[string]agent.Entry{
		"snapshot too large":     {Releases: []agent.Release{big}},
		"release without number": {Releases: []agent.Release{{Service: "web"}}},
		"nameless service":       {Service: &agent.ServiceRecord{}},
		"zero byte in a name":    {Deployment: queued("we\x00b")},
		"quarantine of nobody":   {Release: []string{"1:a"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			faulty.Event = &agent.Event{Kind: agent.EventAgent}
			if _, err := s.Record(faulty); err == nil {
				t.Error("got no error, want one")
			}
			if events, _ := s.Events(0, 0); len(events) != 0 {
				t.Errorf("got %d events of a refused entry, want none", len(events))
			}
		})
	}
	s := openTemp(t)
	fits := stable("web", 1)
	fits.Snapshot.Data = make([]byte, agent.MaxSnapshot)
	record(t, s, agent.Entry{Releases: []agent.Release{fits}})
	if rel, err := s.Release("web", 1); err != nil || len(rel.Snapshot.Data) != agent.MaxSnapshot {
		t.Errorf("got %d bytes and %v, want the largest snapshot back", len(rel.Snapshot.Data), err)
	}
}

func TestReleaseKeepsItsSnapshotWhenRecordedWithoutOne(t *testing.T) {
	s := openTemp(t)
	record(t, s, agent.Entry{Releases: []agent.Release{stable("web", 1)}})
	rejected := stable("web", 1)
	rejected.Snapshot, rejected.Standing = agent.Snapshot{}, agent.StandingRejected
	record(t, s, agent.Entry{Releases: []agent.Release{rejected}})
	rel, err := s.Release("web", 1)
	if err != nil || string(rel.Snapshot.Data) != "snapshot 1" || rel.Standing != agent.StandingRejected {
		t.Errorf("got %q, %s, %v, want the old snapshot and the new standing", rel.Snapshot.Data, rel.Standing, err)
	}
}

func TestQuarantineIsLiftedByFingerprint(t *testing.T) {
	s := openTemp(t)
	record(t, s, agent.Entry{Quarantine: []agent.Quarantined{{Service: "web", Fingerprint: "1:a"}, {Service: "web", Fingerprint: "1:b"}, {Service: "web2", Fingerprint: "1:a"}}})
	record(t, s, agent.Entry{Service: &agent.ServiceRecord{Name: "web"}, Release: []string{"1:a", "1:unknown"}})
	for _, c := range []struct {
		service, fingerprint string
		want                 bool
	}{{"web", "1:a", false}, {"web", "1:b", true}, {"web2", "1:a", true}, {"we", "b2\x001:a", false}} {
		if got, err := s.Quarantined(c.service, c.fingerprint); err != nil || got != c.want {
			t.Errorf("%s %s: got %t, %v, want %t", c.service, c.fingerprint, got, err, c.want)
		}
	}
}

func TestDeploymentsAreChosenNewestFirst(t *testing.T) {
	s := openTemp(t)
	for i := range 300 { // crosses 255 | 256
		record(t, s, agent.Entry{Deployment: ended([]string{"web", "web2", "api"}[i%3])})
	}
	for name, c := range map[string]struct {
		filter agent.HistoryFilter
		want   []int64
	}{
		"all":             {agent.HistoryFilter{Limit: 3}, []int64{300, 299, 298}},
		"across 256":      {agent.HistoryFilter{Before: 258, Limit: 4}, []int64{257, 256, 255, 254}},
		"of a service":    {agent.HistoryFilter{Service: "web", Limit: 2}, []int64{298, 295}},
		"of its namesake": {agent.HistoryFilter{Service: "web2", Limit: 2}, []int64{299, 296}},
		"before":          {agent.HistoryFilter{Service: "api", Before: 9}, []int64{6, 3}},
		"before all":      {agent.HistoryFilter{Before: 1}, []int64{}},
		"unknown":         {agent.HistoryFilter{Service: "nobody"}, []int64{}},
	} {
		got, err := s.Deployments(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, name, ids(got), c.want)
	}
	if all, _ := s.Deployments(agent.HistoryFilter{}); len(all) != 300 {
		t.Errorf("got %d without a limit, want 300", len(all))
	}
}

func TestField42NumbersAreNotText(t *testing.T) {
	s := openTemp(t)
	for n := int64(9); n <= 257; n += 1 {
		record(t, s, agent.Entry{Releases: []agent.Release{stable("web", n)}})
	}
	all, err := s.Releases("web")
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "newest releases", numbers(all)[:3], []int64{257, 256, 255})
	wantEqual(t, "oldest releases", numbers(all)[len(all)-2:], []int64{10, 9})
	if name := agent.ReleaseName(256); name != "r256" {
		t.Errorf("got %s, want r256", name)
	}
}

func TestUnfinishedIsWhatHasNotEnded(t *testing.T) {
	s := openTemp(t)
	record(t, s, agent.Entry{Deployment: ended("api")})
	first := record(t, s, agent.Entry{Deployment: queued("web")}).Deployment
	record(t, s, agent.Entry{Deployment: queued("db")})
	open, _ := s.Unfinished()
	wantEqual(t, "open", ids(open), []int64{2, 3})
	first.State = agent.StateFailed
	record(t, s, agent.Entry{Deployment: first})
	open, _ = s.Unfinished()
	wantEqual(t, "open after an end", ids(open), []int64{3})
}

func TestDeleteServiceForgetsOnlyThatService(t *testing.T) {
	s := openTemp(t)
	for _, name := range []string{"web", "web2"} {
		record(t, s, agent.Entry{
			Service: &agent.ServiceRecord{Name: name}, Deployment: queued(name), Releases: []agent.Release{stable(name, 1)},
			Quarantine: []agent.Quarantined{{Service: name, Fingerprint: "1:a"}},
		})
	}
	if err := s.DeleteService("web"); err != nil {
		t.Fatal(err)
	}
	services, _ := s.Services()
	wantEqual(t, "services", services, []agent.ServiceRecord{{Name: "web2"}})
	open, _ := s.Unfinished()
	wantEqual(t, "open", ids(open), []int64{2})
	if _, err := s.Release("web", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want the release to be gone", err)
	}
	if _, err := s.Release("web2", 1); err != nil {
		t.Errorf("got %v, want the namesake's release", err)
	}
	path := s.Path()
	s.Close()
	if s = openAt(t, path); s.Damaged() != "" {
		t.Error("got a damaged store after forgetting a service, want a whole one")
	}
}

func TestEventsAfter(t *testing.T) {
	s := openTemp(t)
	for i := range 5 {
		record(t, s, agent.Entry{Event: &agent.Event{Kind: agent.EventAgent, Message: fmt.Sprint(i)}})
	}
	got, err := s.Events(2, 2)
	if err != nil || len(got) != 2 || got[0].Seq != 3 || got[1].Seq != 4 {
		t.Errorf("got %v, %v, want events 3 and 4", got, err)
	}
	if rest, err := s.Events(5, 0); err != nil || len(rest) != 0 {
		t.Errorf("got %v, %v, want none", rest, err)
	}
	if last, _ := s.LastEvent(); last != 5 {
		t.Errorf("got last event %d, want 5", last)
	}
}

func TestChangedIsClosedByRecord(t *testing.T) {
	s := openTemp(t)
	changed := s.Changed()
	select {
	case <-changed:
		t.Fatal("got a change before any record")
	default:
	}
	record(t, s, agent.Entry{Event: &agent.Event{}})
	<-changed
	select {
	case <-s.Changed():
		t.Fatal("got a change without a further record")
	default:
	}
}

func TestReadersWhileWriting(t *testing.T) {
	s := openTemp(t)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for last := 0; ; {
				select {
				case <-done:
					return
				default:
				}
				all, err := s.Deployments(agent.HistoryFilter{Service: "web"})
				events, err2 := s.Events(0, 0)
				if err != nil || err2 != nil || len(all) < last || len(events) < len(all) {
					t.Errorf("got %d deployments after %d, %d events, %v, %v, want both to grow together", len(all), last, len(events), err, err2)
					return
				}
				last = len(all)
			}
		})
	}
	for range 200 {
		record(t, s, agent.Entry{Deployment: queued("web"), Releases: []agent.Release{stable("web", 1)}, Event: &agent.Event{Service: "web"}})
	}
	close(done)
	readers.Wait()
}

func TestSecondAgentIsToldThatTheDatabaseIsInUse(t *testing.T) {
	s := openTemp(t)
	_, err := Open(s.Path(), Options{LockTimeout: 10 * time.Millisecond})
	if !errors.Is(err, ErrInUse) || agent.Hint(err) == "" {
		t.Errorf("got %v (hint %q), want database in use with a hint", err, agent.Hint(err))
	}
	if _, err := OpenReadOnly(s.Path()); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v for a reader, want database in use", err)
	}
}

func TestModes(t *testing.T) {
	s := openTemp(t)
	for path, want := range map[string]os.FileMode{s.Path(): 0o600, filepath.Dir(s.Path()): 0o700 | os.ModeDir} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(s.Path()))
	if len(entries) != 1 {
		t.Errorf("got %v beside the store, want nothing", entries)
	}
}

func TestReadOnly(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "history.db")
	if _, err := OpenReadOnly(missing); !errors.Is(err, os.ErrNotExist) || agent.Hint(err) == "" {
		t.Errorf("got %v, want not there, with a hint", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a reader made the file")
	}
	s := openTemp(t)
	record(t, s, agent.Entry{Deployment: queued("web")})
	path := s.Path()
	s.Close()
	before, _ := os.ReadFile(path)
	one, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := OpenReadOnly(path)
	if err != nil {
		t.Fatalf("a second reader: %v", err)
	}
	defer two.Close()
	if all, err := two.Deployments(agent.HistoryFilter{}); err != nil || len(all) != 1 {
		t.Errorf("got %v, %v, want one deployment", all, err)
	}
	if _, err := two.Record(agent.Entry{Event: &agent.Event{}}); err == nil {
		t.Error("got no error from a reader's Record, want one")
	}
	after, _ := os.ReadFile(path)
	if string(before) != string(after) {
		t.Error("a reader changed the file")
	}
}

// setVersion makes the file one of another schema.
func setVersion(t *testing.T, path string, version int) {
	t.Helper()
	s := openAt(t, path)
	if err := s.db.Update(func(tx *bolt.Tx) error { return putMeta(tx, keyVersion, version) }); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestNewerSchemaIsNotTouched(t *testing.T) {
	path := openTemp(t).Path()
	// The first handle must be gone before the file can be changed.
	path = filepath.Join(filepath.Dir(path), "other.db")
	setVersion(t, path, schema+1)
	before, _ := os.ReadFile(path)
	_, err := Open(path, Options{})
	if !errors.Is(err, ErrNewer) || agent.Hint(err) == "" {
		t.Errorf("got %v, want a newer history with a hint", err)
	}
	if _, err := OpenReadOnly(path); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v for a reader, want a newer history", err)
	}
	after, _ := os.ReadFile(path)
	if string(before) != string(after) {
		t.Error("the file was changed")
	}
}

func TestMigrationKeepsACopyAndAllRecords(t *testing.T) {
	if schema != 1+len(migrations()) {
		t.Errorf("got schema %d, want one more than the %d migrations", schema, len(migrations()))
	}
	s := openTemp(t)
	record(t, s, agent.Entry{Service: &agent.ServiceRecord{Name: "web"}})
	rename := func(tx *bolt.Tx) error {
		w := &writer{tx: tx}
		return w.put(bucketServices, namePrefix("web"), agent.ServiceRecord{Name: "web", Last: 7})
	}
	if err := s.prepare(Options{}.withDefaults(), append(migrations(), rename)); err != nil {
		t.Fatal(err)
	}
	if service, _ := s.Service("web"); service.Last != 7 {
		t.Errorf("got %+v, want the migrated record", service)
	}
	err := s.view(func(tx *bolt.Tx) error {
		version, err := getMeta[int](tx, keyVersion)
		if version != schema+1 {
			t.Errorf("got version %d, want %d", version, schema+1)
		}
		return errors.Join(err, checkSeal(tx, version))
	})
	if err != nil {
		t.Error(err)
	}
	backup := openAt(t, fmt.Sprintf("%s.v%d", s.Path(), schema))
	if service, _ := backup.Service("web"); service.Last != 0 {
		t.Errorf("got %+v in the copy, want the record before", service)
	}
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	s := openTemp(t)
	record(t, s, agent.Entry{Service: &agent.ServiceRecord{Name: "web"}})
	half := func(tx *bolt.Tx) error {
		w := &writer{tx: tx}
		return errors.Join(w.delete(bucketServices, namePrefix("web")), errors.New("no"))
	}
	if err := s.prepare(Options{}.withDefaults(), append(migrations(), half)); err == nil {
		t.Fatal("got no error, want the migration's")
	}
	if err := s.prepare(Options{}.withDefaults(), migrations()); err != nil {
		t.Errorf("got %v, want the old store whole", err)
	}
}
