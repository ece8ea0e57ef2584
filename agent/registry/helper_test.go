package registry_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
	"rollback-agent/agent/testbed"
)

// helped is a resolver for a registry whose login comes from a helper with this
// body; "$dir" in it is a folder of its own, where it finds its good answer.
func helped(t *testing.T, body string) (r *registry.Resolver, ref, want, dir string) {
	t.Helper()
	tb, ref, want := private(t)
	dir = t.TempDir()
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	script(t, dir, "docker-credential-own", "dir="+dir+"\n"+body)
	answer := []byte(`{"Username":"ada","Secret":"engine"}`)
	if err := os.WriteFile(filepath.Join(dir, "answer"), answer, 0o600); err != nil {
		t.Fatal(err)
	}
	config := dockerConfig(t, fmt.Sprintf(`{"credHelpers":{%q:"own"}}`, tb.Registry.Host))
	return newResolver(t, registry.Options{DockerConfig: config, Timeout: 2 * time.Second}), ref, want, dir
}

func TestHelperSeesItsOwnEnvironmentOnly(t *testing.T) {
	for key, value := range map[string]string{
		"NOTIFY_SOCKET": "/run/systemd/notify", "ROLLBACK_AGENT_TEST_DISABLE_ROLLBACK": "1", "LISTEN_FDS": "1",
		"WATCHDOG_USEC": "1", "DOCKER_HOST": "tcp://other", "LD_PRELOAD": "", "SLACK_TOKEN": "x", "AWSOME": "x",
		"AWS_PROFILE": "prod", "GOOGLE_APPLICATION_CREDENTIALS": "/key.json", "CLOUDSDK_CONFIG": "/c", "AZURE_CLIENT_ID": "1",
		"XDG_RUNTIME_DIR": "/run/user/0", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/bus", "HTTPS_PROXY": "http://proxy", "no_proxy": "corp",
	} {
		t.Setenv(key, value)
	}
	r, ref, want, dir := helped(t, `env > $dir/env; pwd > $dir/pwd; cat $dir/answer`)
	wantDigest(t, r, ref, want)
	text, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, want := range []string{
		"AWS_PROFILE=prod", "GOOGLE_APPLICATION_CREDENTIALS=/key.json", "CLOUDSDK_CONFIG=/c", "AZURE_CLIENT_ID=1",
		"XDG_RUNTIME_DIR=/run/user/0", "DBUS_SESSION_BUS_ADDRESS=unix:path=/bus", "HTTPS_PROXY=http://proxy", "no_proxy=corp",
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
	} {
		if !slices.Contains(env, want) {
			t.Errorf("got no %s, want it passed on", want)
		}
	}
	for _, entry := range env {
		key, _, _ := strings.Cut(entry, "=")
		if slices.Contains([]string{"NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "DOCKER_HOST", "LD_PRELOAD", "SLACK_TOKEN", "AWSOME"}, key) ||
			strings.HasPrefix(key, "ROLLBACK_AGENT_") {
			t.Errorf("got %s passed on, want it kept", entry)
		}
	}
	if pwd, err := os.ReadFile(filepath.Join(dir, "pwd")); err != nil || string(pwd) != "/\n" {
		t.Errorf("got it run in %q, %v, want /", pwd, err)
	}
}

func TestHelperHasAHomeAndDockersConfig(t *testing.T) {
	r, ref, want, dir := helped(t, `echo "$HOME" > $dir/home; cp $DOCKER_CONFIG/config.json $dir/copy; cat $dir/answer`)
	t.Setenv("HOME", "")
	if err := os.Unsetenv("HOME"); err != nil {
		t.Fatal(err)
	}
	wantDigest(t, r, ref, want)
	if home, err := os.ReadFile(filepath.Join(dir, "home")); err != nil || !filepath.IsAbs(strings.TrimSpace(string(home))) {
		t.Errorf("got home %q, %v, want the user's", home, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "copy")); err != nil {
		t.Errorf("got %v, want DOCKER_CONFIG to be the folder of the config", err)
	}
}

// A helper that hangs ends with everything that it has started.
func TestHangingHelperEndsWithItsGroup(t *testing.T) {
	r, ref, _, dir := helped(t, `sleep 300 & echo $! > $dir/pid; wait`)
	answer, err := r.Ask(t.Context(), ref)
	wantUnreachable(t, err)
	if !strings.Contains(err.Error(), "docker-credential-own") || !strings.Contains(err.Error(), "did not answer in time") ||
		!strings.Contains(agent.Hint(err), "docker-credential-own get") || answer.Login != "docker-credential-own" {
		t.Errorf("got %+v, %v with hint %q, want the helper named", answer, err, agent.Hint(err))
	}
	wantGone(t, dir)
}

// What a helper leaves behind neither delays the answer for long nor stays.
func TestHelperThatLeavesAChildBehind(t *testing.T) {
	r, ref, want, dir := helped(t, `sleep 300 & echo $! > $dir/pid; cat $dir/answer`)
	wantDigest(t, r, ref, want)
	wantGone(t, dir)
}

func wantGone(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, 5*time.Second, func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !zombie(pid) {
			return fmt.Errorf("got process %d alive (%w), want it gone", pid, err)
		}
		return nil
	})
}

// zombie is a process that has ended and that nobody has asked after.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// Some stores fail when they are asked for a repository; Docker never does.
func TestStoreIsAskedForTheRegistryOnly(t *testing.T) {
	_, ref, want, dir := helped(t, `read -r key; echo "$key" >> $dir/keys; cat $dir/answer`)
	host, _, _ := strings.Cut(ref, "/")
	r := newResolver(t, registry.Options{DockerConfig: dockerConfig(t, `{"credsStore":"own"}`)})
	wantDigest(t, r, ref, want)
	if keys, err := os.ReadFile(filepath.Join(dir, "keys")); err != nil || string(keys) != host+"\n" {
		t.Errorf("got it asked for %q, %v, want %s once", keys, err, host)
	}
}

func TestHelperThatAnswersNonsense(t *testing.T) {
	r, ref, _, _ := helped(t, `echo hush`)
	_, err := r.Resolve(t.Context(), ref)
	wantUnreachable(t, err)
	if strings.Contains(err.Error(), "hush") || !strings.Contains(agent.Hint(err), "docker-credential-own") {
		t.Errorf("got %v with hint %q, want the helper named and its output kept", err, agent.Hint(err))
	}
}
