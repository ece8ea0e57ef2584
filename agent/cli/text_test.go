package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestUnified(t *testing.T) {
	ten := "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"
	for name, c := range map[string]struct{ a, b, want string }{
		"equal":      {ten, ten, ""},
		"both empty": {"", "", ""},
		"one line": {
			ten, strings.Replace(ten, "5\n", "five\n", 1),
			"--- r1\n+++ r2\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n",
		},
		"ends": {
			ten, "0\n" + strings.TrimSuffix(ten, "10\n"),
			"--- r1\n+++ r2\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -7,4 +8,3 @@\n 7\n 8\n 9\n-10\n",
		},
		"from nothing": {"", "a\nb\n", "--- r1\n+++ r2\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		"to nothing":   {"a\n", "", "--- r1\n+++ r2\n@@ -1 +0,0 @@\n-a\n"},
	} {
		if got := unified("r1", "r2", c.a, c.b); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// FuzzUnified: the edits hold both texts, and no difference is no text.
func FuzzUnified(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd\n")
	f.Add("", "x\n")
	f.Add("a\na\na\nb\nb\nb\nc\nc\nc\nd\n", "a\na\nb\nb\nb\nb\nc\nc\nd\nd\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		edits := compare(splitLines(a), splitLines(b))
		var before, after []string
		for _, e := range edits {
			if e.kind != '+' {
				before = append(before, e.line)
			}
			if e.kind != '-' {
				after = append(after, e.line)
			}
		}
		if !slices.Equal(before, splitLines(a)) || !slices.Equal(after, splitLines(b)) {
			t.Errorf("%q and %q: got edits %v, want them to hold both", a, b, edits)
		}
		if same := slices.Equal(splitLines(a), splitLines(b)); (unified("a", "b", a, b) == "") != same {
			t.Errorf("%q and %q: got no difference, or one where there is none", a, b)
		}
	})
}

func TestUnifiedIsWhatDiffPrints(t *testing.T) {
	diff, err := exec.LookPath("diff")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i := range 40 {
		a, b := []string{}, []string{}
		for line := range 60 {
			a = append(a, fmt.Sprint("line ", line))
			switch {
			case (line*7+i)%23 == 0:
				b = append(b, fmt.Sprint("changed ", line))
			case (line*5+i)%29 == 0:
			case (line*3+i)%31 == 0:
				b = append(b, fmt.Sprint("new ", line), fmt.Sprint("line ", line))
			default:
				b = append(b, fmt.Sprint("line ", line))
			}
		}
		textA, textB := strings.Join(a, "\n")+"\n", strings.Join(b, "\n")+"\n"
		fileA, fileB := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		if err := os.WriteFile(fileA, []byte(textA), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fileB, []byte(textB), 0o600); err != nil {
			t.Fatal(err)
		}
		want, _ := exec.CommandContext(t.Context(), diff, "-u", "--label", "a", "--label", "b", fileA, fileB).Output() // exit 1: they differ
		if got := unified("a", "b", textA, textB); got != string(want) {
			t.Fatalf("case %d: got\n%s\nwant\n%s", i, got, want)
		}
	}
}

func TestLargeTextsAreReplaced(t *testing.T) {
	a, b := strings.Repeat("a\n", 5000), strings.Repeat("b\n", 5000)
	if got := unified("a", "b", a, b); strings.Count(got, "\n") != 10_003 {
		t.Errorf("got %d lines, want everything replaced", strings.Count(got, "\n"))
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for want, past := range map[string]time.Duration{
		"now": 900 * time.Millisecond, "1 second ago": time.Second, "59 seconds ago": 59 * time.Second, "1 minute ago": 119 * time.Second,
		"2 hours ago": 2 * time.Hour, "3 days ago": 80 * time.Hour,
	} {
		if got := ago(now.Add(-past), now); got != want {
			t.Errorf("%v: got %s, want %s", past, got, want)
		}
	}
	if got := ago(time.Time{}, now); got != "–" {
		t.Errorf("got %s for no time, want –", got)
	}
}

func TestWhatContainersPrintCannotMoveTheCursor(t *testing.T) {
	if got := clean("a\x1b[2Jb\nc\td\u009bx"); got != "a[2Jb c dx" {
		t.Errorf("got %q, want no control characters", got)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s: got no short text, long text or example, want all three", c.CommandPath())
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(newRoot(Agent{}))
}
