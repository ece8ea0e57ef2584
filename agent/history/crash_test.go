package history

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"rollback-agent/agent"
)

// TestMain lets this binary be the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("HISTORY_TEST_WRITER"); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

// writeForever records deployments, each with a release, an event and the
// service that counts them, and says so after each.
func writeForever(path string) {
	s, err := Open(path, Options{})
	for err == nil {
		var record agent.ServiceRecord
		if record, err = s.Service("web"); err != nil {
			break
		}
		record.Last++
		rel := stable("web", record.Last)
		rel.Snapshot.Data = make([]byte, 5000)
		_, err = s.Record(agent.Entry{
			Service: &record, Deployment: ended("web"), Releases: []agent.Release{rel}, Event: &agent.Event{Service: "web"},
		})
		fmt.Println(record.Last)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledWriterLeavesWholeRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	said := int64(0)
	for round := range 15 {
		said = max(said, writeAndKill(t, path, time.Duration(round*3)*time.Millisecond))
		s := openAt(t, path)
		if s.Damaged() != "" {
			t.Fatalf("round %d: got a damaged store, want a whole one", round)
		}
		service, _ := s.Service("web")
		deployments, _ := s.Deployments(agent.HistoryFilter{Service: "web"})
		releases, _ := s.Releases("web")
		events, _ := s.Events(0, 0)
		n := int(service.Last)
		if len(deployments) != n || len(releases) != n || len(events) != n {
			t.Fatalf("round %d: got %d deployments, %d releases, %d events, want %d each", round, len(deployments), len(releases), len(events), n)
		}
		if service.Last < said {
			t.Fatalf("round %d: got %d records, want the %d that were acknowledged", round, service.Last, said)
		}
		s.Close()
	}
}

// writeAndKill lets a writer acknowledge a few records, kills it a moment later
// and returns the last one acknowledged.
func writeAndKill(t *testing.T, path string, after time.Duration) (last int64) {
	t.Helper()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), "HISTORY_TEST_WRITER="+path)
	writer.Stderr = os.Stderr
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Fatal(err)
		}
		if n == 3 {
			time.AfterFunc(after, func() { writer.Process.Kill() })
		}
	}
	if err := writer.Wait(); err == nil || writer.ProcessState.ExitCode() == 1 {
		t.Fatalf("got a writer that ended with %v, want a killed one", err)
	}
	return last
}
