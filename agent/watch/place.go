package watch

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// identity is a directory itself, whatever path leads to it: the kernel reports
// a directory that is mounted in two places by one of its paths.
type identity struct{ dev, ino uint64 }

// spot is a name in a directory. Events there may change what a file holds.
type spot struct {
	dir  identity
	name string
}

// anyName is the name of every entry of a directory that counts by its names.
const anyName = ""

// rounds is how often a chain is walked again because it changed meanwhile.
const rounds = 10

// maxLinks is what the kernel follows, too.
const maxLinks = 40

// place watches every directory on the way to the files of a service. While a
// watch is placed the way may change, so it is walked until it is the same twice.
func (w *Watcher) place(name string, s *service) {
	before := s.problem
	s.problem = w.missing
	dirs := map[string]identity{}
	for range rounds {
		found := map[string]identity{}
		s.spots = map[spot]bool{}
		for _, file := range s.files {
			chain(file, found, s.spots)
		}
		if maps.Equal(found, dirs) {
			break
		}
		dirs = found
		w.watch(s, dirs)
	}
	if s.problem != nil && before == nil && w.missing == nil {
		w.log.Warn("files are watched by rescans only", "service", name, "error", s.problem)
	}
}

// watch places watches; on a directory that is watched already it does no harm,
// and mends a watch that was lost.
func (w *Watcher) watch(s *service, dirs map[string]identity) {
	if w.kernel == nil {
		return
	}
	for dir, id := range dirs {
		err := w.kernel.Add(dir)
		switch {
		case err == nil:
			w.watched[dir] = id
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // gone again: the next round sees it
		case errors.Is(err, fs.ErrPermission) && !s.holds(dir): // its subdirectories tell enough
		default:
			s.problem = w.explain(err)
		}
	}
}

// holds tells whether a file of the service is in the directory itself.
func (s *service) holds(dir string) bool {
	return slices.ContainsFunc(s.files, func(file string) bool {
		parent, err := filepath.EvalSymlinks(filepath.Dir(file))
		return err == nil && parent == dir
	})
}

// release lets go of directories that no service needs.
func (w *Watcher) release() {
	if w.kernel == nil {
		return
	}
	needed := map[identity]bool{}
	for _, s := range w.services {
		for at := range s.spots {
			needed[at.dir] = true
		}
	}
	for dir, id := range w.watched {
		if !needed[id] {
			delete(w.watched, dir)
			_ = w.kernel.Remove(dir) // gone with its directory is as good
		}
	}
}

// chain collects the directories and the spots on the way to a file: those of
// the path itself, of every link in it, and of what the links point to.
func chain(path string, dirs map[string]identity, spots map[spot]bool) {
	at, links := "/", 0
	rest := strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		if !enter(at, name, dirs, spots) {
			return
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		case info.IsDir():
			at = next
		}
	}
	if info, err := os.Lstat(at); err == nil && info.IsDir() && sameAsFile(path, info) {
		enter(at, anyName, dirs, spots)
	}
}

// enter records one step of a chain.
func enter(dir, name string, dirs map[string]identity, spots map[spot]bool) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	id := identity{dev: uint64(stat.Dev), ino: stat.Ino}
	dirs[dir] = id
	spots[spot{id, name}] = true
	return true
}

// sameAsFile tells whether the path leads to that directory, not to a file in it.
func sameAsFile(path string, dir fs.FileInfo) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, dir)
}

// hint says which limit of the kernel to raise.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "raise the limit: sysctl fs.inotify.max_user_watches=524288"
	case errors.Is(err, syscall.EMFILE):
		return "raise the limit: sysctl fs.inotify.max_user_instances=512"
	}
	return ""
}
