package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"rollback-agent/agent"
)

// everything is all that a store tells.
type everything struct {
	Services    []agent.ServiceRecord
	Deployments []agent.Deployment
	Unfinished  []agent.Deployment
	Releases    []agent.Release
	Quarantine  []agent.Quarantined
	Events      []agent.Event
}

func readAll(s *Store) (all everything, err error) {
	var errs [6]error
	all.Services, errs[0] = s.Services()
	all.Deployments, errs[1] = s.Deployments(agent.HistoryFilter{Service: "web"})
	all.Unfinished, errs[2] = s.Unfinished()
	all.Quarantine, errs[3] = s.Quarantine("web")
	all.Events, errs[4] = s.Events(0, 0)
	list, err := s.Releases("web")
	errs[5] = err
	for _, rel := range list {
		full, err := s.Release("web", rel.Number)
		all.Releases = append(all.Releases, full)
		errs[5] = errors.Join(errs[5], err)
	}
	return all, errors.Join(errs[:]...)
}

// corpus returns the bytes of a store with branch pages, overflow pages, inline
// buckets and free pages, and what it tells.
func corpus(t testing.TB) ([]byte, everything) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.db")
	s := openAt(t, path)
	for i := range int64(14) {
		d := ended("web")
		d.Message = strings.Repeat("what happened ", 20)
		d.To = i + 1
		rel := stable("web", i+1)
		if i%7 == 0 {
			rel.Snapshot.Data = make([]byte, 9000)
		}
		record(t, s, agent.Entry{Deployment: d, Releases: []agent.Release{rel}, Event: &agent.Event{Service: "web", Message: "moved"}})
	}
	record(t, s, agent.Entry{
		Service: &agent.ServiceRecord{Name: "web", Last: 14}, Deployment: queued("web"),
		Quarantine: []agent.Quarantined{{Service: "web", Fingerprint: "1:bad", Reason: agent.ReasonCrash}},
	})
	if err := s.Prune("web", 11, nil); err != nil {
		t.Fatal(err)
	}
	all, err := readAll(s)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, all
}

// wantWholeOrDamaged opens a file of these bytes both ways: it has all records,
// or it says that it is damaged, and then the file is kept.
func wantWholeOrDamaged(t *testing.T, what string, data []byte, want everything) (damaged bool) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "history.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	wantReaderToKeepIt(t, what, path, data)
	s, err := Open(path, Options{})
	if err != nil {
		if errors.Is(err, ErrNewer) { // an altered version that has a right checksum
			return true
		}
		t.Fatalf("%s: got %v, want a store", what, err)
	}
	defer s.Close()
	got, err := readAll(s)
	if err != nil {
		t.Fatalf("%s: reading: %v", what, err)
	}
	if s.Damaged() == "" {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got other records, want all of them or a damaged store", what)
		}
		return false
	}
	if kept, err := os.ReadFile(s.Damaged()); err != nil || !reflect.DeepEqual(kept, data) {
		t.Fatalf("%s: got %v, want the damaged file kept as it was", what, err)
	}
	if len(got.Deployments) != 0 {
		t.Fatalf("%s: got %d deployments in a fresh store, want none", what, len(got.Deployments))
	}
	if _, err := s.Record(agent.Entry{Deployment: queued("web")}); err != nil {
		t.Fatalf("%s: the fresh store: %v", what, err)
	}
	return true
}

func wantReaderToKeepIt(t *testing.T, what, path string, data []byte) {
	t.Helper()
	s, err := OpenReadOnly(path)
	if err == nil {
		_, err = readAll(s)
		s.Close()
	}
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
		t.Fatalf("%s: a reader got %v, want the records or ErrDamaged", what, err)
	}
	if kept, err := os.ReadFile(path); err != nil || !reflect.DeepEqual(kept, data) {
		t.Fatalf("%s: a reader changed or moved the file (%v)", what, err)
	}
}

func TestDamageAtManyOffsets(t *testing.T) {
	data, want := corpus(t)
	random := rand.New(rand.NewPCG(1, 2))
	damages := map[string]func(page []byte, at int){
		"one bit": func(b []byte, at int) { b[at] ^= 1 << random.IntN(8) },
		"zeros":   func(b []byte, at int) { clear(b[at:min(len(b), at+64)]) },
		"noise": func(b []byte, at int) {
			for i := range min(8, len(b)-at) {
				b[at+i] = byte(random.Uint32())
			}
		},
		"ones": func(b []byte, at int) {
			for i := range min(8, len(b)-at) {
				b[at+i] = 0xFF
			}
		},
	}
	noticed := 0
	for name, damage := range damages {
		for _, at := range offsets(len(data), random) {
			broken := append([]byte(nil), data...)
			damage(broken, at)
			if wantWholeOrDamaged(t, fmt.Sprintf("%s at %d", name, at), broken, want) {
				noticed++
			}
		}
	}
	if noticed < 100 {
		t.Errorf("got %d damaged stores, want the damage to be noticed many times", noticed)
	}
}

// offsets covers every byte of the first page headers, and picks from the rest.
func offsets(size int, random *rand.Rand) []int {
	var list []int
	for page := 0; page < size; page += pageSize {
		for _, at := range []int{0, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72} {
			if random.IntN(4) == 0 {
				list = append(list, page+at)
			}
		}
	}
	for range 60 {
		list = append(list, random.IntN(size))
	}
	return list
}

func TestCutOffFileIsNeverEmpty(t *testing.T) {
	data, want := corpus(t)
	for _, size := range []int{0, 1, 15, 16, 64, 4095, 4096, 4097, 8192, 12288, 16383, 16384, 20480, len(data) / 2, len(data) - 4096} {
		damaged := wantWholeOrDamaged(t, fmt.Sprintf("cut off at %d", size), data[:size], want)
		if size <= 16384 && !damaged {
			t.Errorf("cut off at %d: got a whole store, want a damaged one", size)
		}
	}
	for _, size := range []int{100, 4096, 65536, 1 << 20} {
		if !wantWholeOrDamaged(t, fmt.Sprintf("%d zeros", size), make([]byte, size), want) {
			t.Errorf("%d zeros: got a whole store, want a damaged one", size)
		}
	}
}

func TestEmptyStoreCutOff(t *testing.T) {
	path := openTemp(t).Path()
	data, _ := os.ReadFile(path)
	for size := 0; size < len(data); size += 1024 {
		if wantWholeOrDamaged(t, fmt.Sprintf("cut off at %d", size), data[:size], emptyStore(t)) != (size < usedBytes(t, data)) {
			t.Errorf("cut off at %d: wrongly judged", size)
		}
	}
}

func emptyStore(t *testing.T) everything {
	all, err := readAll(openTemp(t))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func usedBytes(t *testing.T, data []byte) int {
	m, err := readMetas(data)
	if err != nil {
		t.Fatal(err)
	}
	return int(m.high) * pageSize
}

func TestDamagedIsMovedAsideEveryTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	seen := map[string]bool{}
	for range 3 {
		if err := os.WriteFile(path, []byte("not a database"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openAt(t, path)
		if s.Damaged() == "" || seen[s.Damaged()] || !strings.HasPrefix(s.Damaged(), path+".damaged-20") {
			t.Fatalf("got %q, want a new name", s.Damaged())
		}
		seen[s.Damaged()] = true
		s.Close()
		if s = openAt(t, path); s.Damaged() != "" {
			t.Fatalf("got %q on a restart, want a whole store", s.Damaged())
		}
		s.Close()
	}
}

func TestDirectoryInPlaceOfTheStore(t *testing.T) {
	path := t.TempDir()
	if _, err := Open(path, Options{}); err == nil {
		t.Error("got no error, want one")
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		t.Errorf("got %v, want the directory untouched", err)
	}
}

func FuzzDamage(f *testing.F) {
	data, want := corpus(f)
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(4096), []byte("\x00\x00\x00\x00"))
	f.Add(uint32(8192+8), []byte{2, 0, 255, 255})
	f.Add(uint32(12288+16), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, at uint32, noise []byte) {
		broken := append([]byte(nil), data...)
		copy(broken[int(at)%len(broken):], noise)
		wantWholeOrDamaged(t, "fuzz", broken, want)
	})
}

// FuzzPages lets the page reader loose on bytes that bbolt never wrote.
func FuzzPages(f *testing.F) {
	data, _ := corpus(f)
	f.Add(data)
	f.Add(make([]byte, 5*pageSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		if keys, err := checkPages(data); err == nil && keys < 0 {
			t.Errorf("got %d keys, want none or some", keys)
		}
	})
}
