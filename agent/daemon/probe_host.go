package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
	"rollback-agent/agent/watch"
)

// What the history needs: it cannot be recorded without room, and nothing is done
// that is not recorded.
const (
	leastRoom = 64 << 20
	goodRoom  = 512 << 20
)

// files looks at every file that decides what a service is.
func (p *probing) files() []question {
	var questions []question
	for _, svc := range p.cfg.Services {
		if wanted, known := p.wanted[svc.Name]; known {
			questions = append(questions, question{"files", svc.Name, func(context.Context) agent.Finding { return p.lookAtFiles(svc, wanted) }})
		}
	}
	return questions
}

func (p *probing) lookAtFiles(svc agent.Service, wanted agent.Wanted) agent.Finding {
	files := wanted.Files
	if faults := p.cfg.CheckFiles(svc, wanted.Sources); len(faults) > 0 {
		return failed(agent.WithHint(faults, faults[0].Hint))
	}
	here, odd := 0, []string(nil)
	for _, file := range files {
		exists, problem, err := readFirst(file)
		if err != nil {
			return failed(agent.WithHint(err, "the agent's user must be able to read it"))
		}
		if problem != "" {
			odd = append(odd, problem)
		}
		if exists {
			here++
		}
	}
	if err := watch.Try(p.log, files); err != nil {
		return failed(err)
	}
	text := count(here, "file", "files")
	if absent := len(files) - here; absent > 0 {
		text += fmt.Sprintf(" and %d that may appear", absent)
	}
	text += ", changes are noticed"
	if len(odd) > 0 {
		return doubtful("mend it, or take it out of the compose file", "%s; %s", text, strings.Join(odd, "; "))
	}
	return fine("%s", text)
}

// readFirst reads a little of a file: a mode says less than an attempt. A file
// that is not there is none of anybody's business, unless a link says that it
// should be.
func readFirst(file string) (exists bool, problem string, err error) {
	link, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("looking at a watched file: %w", err)
	}
	info, err := os.Stat(file)
	switch {
	case link.Mode()&fs.ModeSymlink != 0 && errors.Is(err, fs.ErrNotExist):
		return false, file + " is a link to nothing", nil
	case err != nil:
		return false, "", fmt.Errorf("looking at a watched file: %w", err)
	case info.IsDir():
		return true, file + " is a directory", nil
	case !info.Mode().IsRegular():
		return true, file + " is no regular file", nil // opening it could block
	}
	opened, err := os.Open(file)
	if err != nil {
		return true, "", fmt.Errorf("reading a watched file: %w", err)
	}
	defer opened.Close()
	if _, err := opened.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return true, "", fmt.Errorf("reading a watched file: %w", err)
	}
	return true, "", nil
}

// host looks at where the agent keeps its things.
func (p *probing) host() []question {
	return []question{
		{"state", p.cfg.StateDir, func(context.Context) agent.Finding { return lookAtState(p.cfg.StateDir) }},
		{"socket", p.cfg.Socket, func(ctx context.Context) agent.Finding { return lookAtSocket(ctx, p.cfg.Socket) }},
	}
}

func lookAtState(dir string) agent.Finding {
	const hint = "run the agent as the user that owns it, or set state_dir"
	at, missing, err := mayMake(dir)
	if err != nil {
		return failed(agent.WithHint(err, hint))
	}
	history := filepath.Join(dir, historyFile)
	if info, err := os.Lstat(history); err == nil {
		if !info.Mode().IsRegular() {
			return failed(agent.WithHint(fmt.Errorf("%s is no file", history), "move it away"))
		}
		if err := unix.Faccessat(unix.AT_FDCWD, history, unix.R_OK|unix.W_OK, unix.AT_EACCESS); err != nil {
			return failed(agent.WithHint(fmt.Errorf("writing %s: %w", history, err), hint))
		}
	}
	free, err := roomIn(at)
	switch {
	case err != nil:
		return failed(fmt.Errorf("asking how much room %s has: %w", at, err))
	case free < leastRoom:
		return failed(agent.WithHint(fmt.Errorf("only %s free in %s", size(free), at), "make room, or set state_dir: without a record nothing is deployed"))
	case free < goodRoom:
		return doubtful("make room, or set state_dir", "writable, only %s free", size(free))
	case missing:
		return fine("not there yet, can be made, %s free", size(free))
	}
	return fine("writable, %s free", size(free))
}

// mayMake tells whether things can be made in a directory, or the directory
// itself where it is missing. at is what there is of it.
func mayMake(dir string) (at string, missing bool, err error) {
	for at = dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			if link, err := os.Lstat(at); err == nil && link.Mode()&fs.ModeSymlink != 0 {
				return at, false, fmt.Errorf("%s is a link to nothing", at)
			}
			missing = true
			continue
		case err != nil:
			return at, missing, fmt.Errorf("looking at %s: %w", at, err)
		case !info.IsDir():
			return at, missing, fmt.Errorf("%s is no directory", at)
		}
		if err := unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return at, missing, fmt.Errorf("writing in %s: %w", at, err)
		}
		return at, missing, nil
	}
}

func lookAtSocket(ctx context.Context, path string) agent.Finding {
	const hint = "set socket to a path that this user may make"
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return failed(agent.WithHint(errors.New("there is something else in its place, and it is not touched"), "move it away, or set socket"))
	case err == nil:
		version, err := control.NewClient(path, 0).Version(ctx)
		switch {
		case err == nil:
			return fine("the agent runs, version %s", version.Version)
		case !errors.Is(err, control.ErrNotRunning):
			return failed(err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return failed(agent.WithHint(fmt.Errorf("looking at it: %w", err), hint))
	}
	if len(path) > 107 {
		return failed(agent.WithHint(fmt.Errorf("its path has %d bytes, 107 are possible", len(path)), "set socket to a shorter path"))
	}
	if _, _, err := mayMake(filepath.Dir(path)); err != nil {
		return failed(agent.WithHint(err, hint))
	}
	return fine("can be made; no agent runs")
}

// roomIn is what this user may still write where a directory is, in bytes.
func roomIn(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	if stat.Files > 0 && stat.Ffree == 0 {
		return 0, nil
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

// size prints bytes with as many digits as matter.
func size(bytes uint64) string {
	for _, unit := range []struct {
		size uint64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if bytes >= unit.size {
			return fmt.Sprintf("%.3g %s", float64(bytes)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", bytes)
}
