package history

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollback-agent/agent"
)

const many = 100_000

// large returns the path of a store with that many deployments of ten services.
func large(tb testing.TB, many int) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "history.db")
	s := openAt(tb, path)
	for batch := range many / 5000 {
		err := s.update(func(w *writer) error {
			for i := range 5000 {
				d := ended(fmt.Sprintf("service-%d", i%10))
				d.Message = strings.Repeat("because ", 10)
				d.Timeline = make([]agent.Step, 5)
				d.To = int64(batch)
				if _, err := w.deployment(*d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	s.Close()
	return path
}

func TestPageOfALargeHistoryIsFast(t *testing.T) {
	path := large(t, many/5)
	began := time.Now()
	s, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	page, err := s.Deployments(agent.HistoryFilter{Service: "service-3", Limit: 20})
	if err != nil || len(page) != 20 {
		t.Fatalf("got %d, %v, want 20", len(page), err)
	}
	took := time.Since(began)
	t.Logf("opening and one page took %v", took)
	if took > 500*time.Millisecond { // ten times the figure, for slow machines and the race detector
		t.Errorf("got %v, want a page in a moment", took)
	}
}

func BenchmarkOpenAndOnePage(b *testing.B) {
	path := large(b, many)
	for b.Loop() {
		s, err := OpenReadOnly(path)
		if err != nil {
			b.Fatal(err)
		}
		if page, err := s.Deployments(agent.HistoryFilter{Limit: 20}); err != nil || len(page) != 20 {
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkOpenForWriting(b *testing.B) {
	path := large(b, many)
	for b.Loop() {
		openAt(b, path).Close()
	}
}

func BenchmarkRecord(b *testing.B) {
	s := openAt(b, large(b, many))
	d := queued("service-3")
	for b.Loop() {
		d = record(b, s, agent.Entry{Deployment: d, Event: &agent.Event{}}).Deployment
	}
}
