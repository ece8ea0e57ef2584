package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	helper "github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"

	"rollback-agent/agent"
)

// passedOn is what a credential helper sees of the agent's environment: where it
// and its user are, what the clouds' own tools read, and how to get out. It is
// somebody else's program and may be led by variables, so it gets nothing that is
// about the agent: with NOTIFY_SOCKET it could tell systemd that the agent is
// ready or stops, with ROLLBACK_AGENT_… change how agents run that it calls.
var passedOn = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "DOCKER_CONFIG",
	"AWS_*", "GOOGLE_*", "CLOUDSDK_*", "GCE_METADATA_*", "AZURE_*", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_*",
	"XDG_*", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME", "PASSWORD_STORE_*",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

// helperAfterlife is how long a process that inherited the output may hold it open
// after the helper itself has ended.
const helperAfterlife = time.Second

// askHelper runs a credential helper. No login is the zero value.
func (k *keychain) askHelper(ctx context.Context, program, key string) (authn.AuthConfig, error) {
	if _, err := exec.LookPath(program); err != nil {
		err = fmt.Errorf("asking the credential helper %s for %s: %w", program, key, exec.ErrNotFound)
		return authn.AuthConfig{}, agent.Permanent(agent.WithHint(err,
			fmt.Sprintf("install %s in %s, or take it out of Docker's config.json", program, filepath.SplitList(os.Getenv("PATH")))))
	}
	answer, err := helper.Get(func(args ...string) helper.Program { return k.helper(ctx, program, args) }, key)
	if err != nil && ctx.Err() != nil {
		err = errors.New("it did not answer in time")
	}
	switch {
	case credentials.IsErrCredentialsNotFound(err):
		return authn.AuthConfig{}, nil
	case err != nil:
		err = unreachable(fmt.Errorf("asking the credential helper %s for %s: %w", program, key, err))
		return authn.AuthConfig{}, agent.WithHint(err,
			fmt.Sprintf("try it as the user that runs the agent: echo %s | %s get", key, program))
	case answer.Username == "<token>":
		return authn.AuthConfig{Username: answer.Username, IdentityToken: answer.Secret}, nil
	}
	return authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, nil
}

// helper makes the command: at home nowhere, in a process group of its own that
// ends with ctx, whatever it has started.
func (k *keychain) helper(ctx context.Context, program string, args []string) helperProgram {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = "/", k.environment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = helperAfterlife
	return helperProgram{cmd}
}

// environment picks what a helper may see.
func (k *keychain) environment(all []string) []string {
	var env []string
	home := false
	for _, entry := range all {
		key, _, _ := strings.Cut(entry, "=")
		if slices.ContainsFunc(passedOn, func(pattern string) bool { return matches(pattern, key) }) {
			env = append(env, entry)
			home = home || key == "HOME"
		}
	}
	if me, err := user.Current(); !home && err == nil { // systemd sets none for root
		env = append(env, "HOME="+me.HomeDir)
	}
	if k.config != "" {
		env = append(env, "DOCKER_CONFIG="+k.dir()) // the last one counts
	}
	return env
}

func matches(pattern, key string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return key == pattern || open && strings.HasPrefix(key, prefix)
}

// helperProgram is a credential helper that ends with a context.
type helperProgram struct{ cmd *exec.Cmd }

func (p helperProgram) Input(in io.Reader) { p.cmd.Stdin = in }

// Output runs the helper without the agent's ambient capabilities. They belong to
// a thread and nothing in [syscall.SysProcAttr] drops them, so the thread that
// forks drops its own, and dies with its goroutine because it stays locked.
func (p helperProgram) Output() (output []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = dropAmbient(); err == nil {
			output, err = p.cmd.Output()
		}
		if errors.Is(err, exec.ErrWaitDelay) { // it ended well and left something behind
			_ = killGroup(p.cmd)
			err = nil
		}
	}()
	<-done
	return output, err
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

func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
