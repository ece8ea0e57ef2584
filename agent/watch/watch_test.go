package watch

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"rollback-agent/agent"
)

// never is a rescan that does not come within a test: what is noticed with it
// was told by the kernel.
const never = time.Hour

const quiet = 50 * time.Millisecond

// running is a watcher that runs until the test ends.
type running struct {
	*Watcher
	changes chan agent.Change
}

func run(t *testing.T, rescan time.Duration, prepare func(*Watcher)) running {
	t.Helper()
	r := running{changes: make(chan agent.Change, 100)}
	r.Watcher = New(slog.New(slog.DiscardHandler), rescan, func(c agent.Change) { r.changes <- c })
	prepare(r.Watcher)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got %v from Run, want nil", err)
		}
	})
	return r
}

// watching runs a watcher for one service "web" and returns it when its watches
// are in place.
func watching(t *testing.T, files ...string) running {
	t.Helper()
	r := run(t, never, func(*Watcher) {})
	r.none(t) // afterwards the first look is over
	r.Set("web", files, quiet)
	return r
}

func (r running) next(t *testing.T) agent.Change {
	t.Helper()
	select {
	case change := <-r.changes:
		return change
	case <-time.After(5 * time.Second):
		t.Fatal("got no change within 5 s, want one")
		return agent.Change{}
	}
}

// none proves that nothing changed: a second service that is saved afterwards
// must be the next to be told.
func (r running) none(t *testing.T) {
	t.Helper()
	marker := filepath.Join(t.TempDir(), "marker")
	r.Set("marker", []string{marker}, quiet)
	write(t, marker, "x")
	if change := r.next(t); change.Service != "marker" {
		t.Errorf("got %+v, want no change", change)
	}
	r.Remove("marker")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// Every way to save a file is one change, told within a second.
func TestField22EveryWayToSave(t *testing.T) {
	for name, save := range map[string]func(t *testing.T, file string){
		"in place, VS Code": func(t *testing.T, file string) { write(t, file, "new") },
		"rename over, most editors": func(t *testing.T, file string) {
			write(t, file+".tmp", "new")
			must(t, os.Rename(file+".tmp", file))
		},
		"vim: rename to ~, write new, delete": func(t *testing.T, file string) {
			write(t, filepath.Dir(file)+"/4913", "")
			must(t, os.Remove(filepath.Dir(file)+"/4913"))
			must(t, os.Rename(file, file+"~"))
			write(t, file, "new")
			must(t, os.Remove(file+"~"))
		},
		"emacs: lock link, copy to ~, write": func(t *testing.T, file string) {
			must(t, os.Symlink("me@host.1:1", filepath.Dir(file)+"/.#compose.yml"))
			write(t, file+"~", "old")
			write(t, file, "new")
			must(t, os.Remove(filepath.Dir(file)+"/.#compose.yml"))
		},
		"sed -i":   func(t *testing.T, file string) { command(t, "sed", "-i", "s/old/new/", file) },
		"cp":       func(t *testing.T, file string) { write(t, file+".1", "new"); command(t, "cp", file+".1", file) },
		"mv":       func(t *testing.T, file string) { write(t, file+".1", "new"); command(t, "mv", file+".1", file) },
		"ln -sfn":  func(t *testing.T, file string) { write(t, file+".1", "new"); command(t, "ln", "-sfn", file+".1", file) },
		"shell >>": func(t *testing.T, file string) { command(t, "sh", "-c", `echo more >> "$0"`, file) },
		"delete and create": func(t *testing.T, file string) {
			must(t, os.Remove(file))
			write(t, file, "new")
		},
		"delete":             func(t *testing.T, file string) { must(t, os.Remove(file)) },
		"truncate and write": halfWritten,
		"directory removed and made again": func(t *testing.T, file string) {
			must(t, os.RemoveAll(filepath.Dir(file)))
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			write(t, file, "new")
		},
		"directory moved away": func(t *testing.T, file string) {
			must(t, os.Rename(filepath.Dir(file), filepath.Dir(file)+".old"))
			must(t, os.Mkdir(filepath.Dir(file), 0o755))
			write(t, file, "new")
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "app", "compose.yml")
			must(t, os.Mkdir(filepath.Dir(file), 0o755))
			write(t, file, "old")
			r := watching(t, file)
			save(t, file)
			saved := time.Now()
			change := r.next(t)
			if change.Service != "web" || change.Cause != "files" || !slices.Equal(change.Paths, []string{file}) {
				t.Errorf("got %+v, want a change of %s", change, file)
			}
			if took := time.Since(saved); took > time.Second {
				t.Errorf("got the change after %s, want it within a second", took)
			}
			r.none(t)
			write(t, file, "and once more, through watches that are still in place")
			r.next(t)
		})
	}
}

// halfWritten truncates and writes in pieces, each of them an event.
func halfWritten(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	for range 5 {
		_, err := f.WriteString("new\n")
		must(t, err)
		must(t, f.Sync())
	}
}

func TestField22Links(t *testing.T) {
	t.Run("kubernetes", func(t *testing.T) {
		dir := t.TempDir()
		for _, version := range []string{"..1", "..2"} {
			must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
			write(t, filepath.Join(dir, version, "compose.yml"), version)
		}
		must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
		must(t, os.Symlink("..data/compose.yml", filepath.Join(dir, "compose.yml")))
		r := watching(t, filepath.Join(dir, "compose.yml"))
		must(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		must(t, os.RemoveAll(filepath.Join(dir, "..1")))
		r.next(t)
		r.none(t)
		write(t, filepath.Join(dir, "..2", "compose.yml"), "the target that it points to now")
		r.next(t)
	})
	t.Run("link of a directory above", func(t *testing.T) {
		dir, releases := t.TempDir(), t.TempDir()
		for _, version := range []string{"1", "2"} {
			must(t, os.MkdirAll(filepath.Join(releases, version, "deploy"), 0o755))
			write(t, filepath.Join(releases, version, "deploy", "compose.yml"), version)
		}
		current := filepath.Join(dir, "current")
		must(t, os.Symlink(filepath.Join(releases, "1"), current))
		r := watching(t, filepath.Join(current, "deploy", "compose.yml"))
		command(t, "ln", "-sfn", filepath.Join(releases, "2"), current)
		r.next(t)
		write(t, filepath.Join(releases, "2", "deploy", "compose.yml"), "new")
		r.next(t)
	})
	t.Run("loop", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Symlink("b", filepath.Join(dir, "a")))
		must(t, os.Symlink("a", filepath.Join(dir, "b")))
		r := watching(t, filepath.Join(dir, "a"))
		must(t, os.Remove(filepath.Join(dir, "b")))
		write(t, filepath.Join(dir, "b"), "out of the loop")
		r.next(t)
	})
}

func TestField22WhatChangesNoContentIsSilent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "compose.yml")
	write(t, file, "same")
	r := watching(t, file, filepath.Join(dir, ".env"))
	write(t, file, "same")
	must(t, os.Chmod(file, 0o600))
	write(t, file+".swp", "editor")
	write(t, filepath.Join(dir, "app.log"), "unrelated")
	write(t, filepath.Join(dir, ".env"), "x")
	must(t, os.Remove(filepath.Join(dir, ".env")))
	r.none(t)
}

func TestField22AbsentFilesAndDirectories(t *testing.T) {
	root := t.TempDir()
	env, deep := filepath.Join(root, ".env"), filepath.Join(root, "a", "b", "c", "compose.yml")
	r := watching(t, env, deep)
	write(t, env, "TAG=2")
	if got := r.next(t).Paths; !slices.Equal(got, []string{env}) {
		t.Errorf("got %v, want %s", got, env)
	}
	must(t, os.MkdirAll(filepath.Dir(deep), 0o755))
	write(t, deep, "new")
	if got := r.next(t).Paths; !slices.Equal(got, []string{deep}) {
		t.Errorf("got %v, want %s", got, deep)
	}
	must(t, os.RemoveAll(filepath.Join(root, "a")))
	r.next(t)
}

func TestField22NoticedByTheRescanAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compose.yml")
	write(t, file, "old")
	r := run(t, 20*time.Millisecond, func(w *Watcher) {
		w.open = func() (*fsnotify.Watcher, error) { return nil, os.NewSyscallError("inotify_init1", emfile) }
		w.Set("web", []string{file}, quiet)
	})
	write(t, file, "new")
	if change := r.next(t); change.Cause != "rescan" {
		t.Errorf("got %+v, want a change by rescan", change)
	}
	problem := r.Problems()["web"]
	if problem == nil || !strings.Contains(problem.Error(), "within 20ms only") || !strings.Contains(agent.Hint(problem), "max_user_instances") {
		t.Errorf("got %v (%s), want what to do about it", problem, agent.Hint(problem))
	}
}

func TestChangeBeforeRunIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compose.yml")
	write(t, file, "old")
	r := run(t, never, func(w *Watcher) {
		w.Set("web", []string{file}, quiet)
		write(t, file, "new")
	})
	r.next(t)
}

func TestSetKeepsWhatIsKnown(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "1")
	r := watching(t, a)
	write(t, a, "2")
	if !r.Set("web", []string{a, b}, quiet) {
		t.Error("got no added file, want b")
	}
	if r.Set("web", []string{a, b}, quiet) {
		t.Error("got an added file, want none")
	}
	if got := r.next(t).Paths; !slices.Equal(got, []string{a}) {
		t.Errorf("got %v, want the write before Set noticed", got)
	}
	r.Remove("web")
	write(t, a, "3")
	r.none(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.watched) != 0 {
		t.Errorf("got %v watched without a service, want nothing", r.watched)
	}
}

func TestDirectoryCountsByItsNames(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.toml"), "1")
	r := watching(t, dir)
	write(t, filepath.Join(dir, "a.toml"), "2")
	r.none(t)
	write(t, filepath.Join(dir, "b.toml"), "1")
	r.next(t)
}

func TestManyServicesShareAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shared.env")
	write(t, file, "1")
	r := watching(t, file)
	r.Set("api", []string{file}, quiet)
	write(t, file, "2")
	got := []string{r.next(t).Service, r.next(t).Service}
	if slices.Sort(got); !slices.Equal(got, []string{"api", "web"}) {
		t.Errorf("got %v, want both", got)
	}
}
