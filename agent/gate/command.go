package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"rollback-agent/agent"
)

const (
	// maxOutput is how much of a command's output is kept: its end, in bytes.
	maxOutput = 4 << 10
	// searchPath is where programs without a slash are looked for, and what they
	// see themselves. The agent's own PATH plays no part.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// afterlife is how long a process that inherited the output may hold it open
	// after the command itself has ended.
	afterlife = time.Second
)

// Command runs a program on the host and returns the last 4 KiB of its combined
// output. There is no shell: argv is what the program gets. It runs in /, with
// an environment of PATH, HOME, LANG and ROLLBACK_AGENT_SERVICE and without the
// agent's ambient capabilities. When ctx ends, the program and whatever it
// started in its process group are killed.
func Command(ctx context.Context, service string, argv []string) (output string, err error) {
	if len(argv) == 0 {
		return "", errors.New("there is no command")
	}
	program, err := lookUp(argv[0])
	if err != nil {
		return "", err
	}
	kept := &tail{}
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir, cmd.Env = "/", environment(service)
	cmd.Stdout, cmd.Stderr = kept, kept
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = afterlife
	if err := start(cmd); err != nil {
		return "", fmt.Errorf("starting %s: %w", argv[0], err)
	}
	err = cmd.Wait()
	return kept.String(), ended(ctx, cmd, err)
}

// start starts the command without ambient capabilities. They belong to a
// thread and nothing in [syscall.SysProcAttr] drops them, so the thread that
// forks drops its own, and dies with its goroutine because it stays locked.
func start(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := dropAmbient()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// dropAmbient empties the ambient set of the calling thread.
func dropAmbient() error {
	const capAmbient, clearAll = 47, 4 // PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, capAmbient, clearAll, 0, 0, 0, 0)
	if errno != 0 && errno != syscall.EINVAL { // a kernel before 4.3 has no such set
		return fmt.Errorf("dropping ambient capabilities: %w", errno)
	}
	return nil
}

// ended puts the end of a command into words.
func ended(ctx context.Context, cmd *exec.Cmd, err error) error {
	if errors.Is(err, exec.ErrWaitDelay) {
		// It ended well and left something behind that holds its output open.
		_ = killGroup(cmd)
		err = nil
	}
	switch exit, failed := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !failed:
		return err
	case exit.Exited():
		return ExitError(exit.ExitCode())
	default:
		return fmt.Errorf("ended by %s", strings.TrimPrefix(exit.String(), "signal: "))
	}
}

// ExitError is an exit code that is not 0.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// lookUp finds a program that is named without a slash.
func lookUp(program string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", agent.WithHint(fmt.Errorf("there is no program %q in %s", program, searchPath), "name it with its whole path")
}

func environment(service string) []string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return []string{"PATH=" + searchPath, "HOME=" + home, "LANG=C.UTF-8", "ROLLBACK_AGENT_SERVICE=" + service}
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxOutput; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.kept), "\uFFFD") }

// askHost runs the service's health command on the host.
func askHost(ctx context.Context, svc agent.Service) answer {
	output, err := Command(ctx, svc.Name, svc.Health.Command)
	code, ran := errors.AsType[ExitError](err)
	if err != nil && !ran {
		return answer{detail: withAll(err.Error(), output)}
	}
	return exited(int(code), output)
}

// exited is the answer of a command that came to its end.
func exited(code int, output string) answer {
	return answer{passed: code == 0, detail: withAll(ExitError(code).Error(), output)}
}
