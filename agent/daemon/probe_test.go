package daemon_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/daemon"
	"rollback-agent/agent/testbed"
)

func awaitHTTP(t *testing.T, port int) {
	t.Helper()
	testbed.Eventually(t, 15*time.Second, func() error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err == nil {
			err = response.Body.Close()
		}
		return err
	})
}

// probes loads a config and asks the world about it.
func probes(t *testing.T, text string, options daemon.ProbeOptions) []agent.Finding {
	t.Helper()
	cfg, faults := config.Load(writeFile(t, filepath.Join(t.TempDir(), "config.toml"), text))
	for _, f := range append(faults, cfg.Faults()...) {
		t.Logf("config: %s", f)
	}
	var found []agent.Finding
	daemon.Probe(t.Context(), cfg, options, func(f agent.Finding) { found = append(found, f) })
	for _, f := range found {
		t.Logf("%+v", f)
	}
	return found
}

var world = daemon.ProbeOptions{World: true}

// want finds a finding and compares it: "ok", "warn" or "FAIL", and texts in its
// detail and hint.
func want(t *testing.T, found []agent.Finding, kind, name, verdict string, texts ...string) {
	t.Helper()
	for _, f := range found {
		if f.Kind != kind || !strings.Contains(f.Name, name) {
			continue
		}
		got := map[bool]string{true: "ok", false: "FAIL"}[f.OK]
		if f.Warning {
			got = "warn"
		}
		if got != verdict {
			t.Errorf("%s %s: got %s (%s), want %s", kind, f.Name, got, f.Detail, verdict)
		}
		for _, text := range texts {
			if !strings.Contains(f.Detail+"\n"+f.Hint, text) {
				t.Errorf("%s %s: got %q with hint %q, want %q in it", kind, f.Name, f.Detail, f.Hint, text)
			}
		}
		return
	}
	t.Errorf("got no finding about %s %s", kind, name)
}

func order(found []agent.Finding) string {
	var names []string
	for _, f := range found {
		names = append(names, f.Kind+" "+f.Name)
	}
	return strings.Join(names, "\n")
}

func header(dir string) string {
	return fmt.Sprintf("state_dir = %q\nsocket = %q\n", filepath.Join(dir, "state"), filepath.Join(dir, "agent.sock"))
}

// An agent that runs is not disturbed, and what runs is asked for its health.
func TestProbeWhileTheAgentRuns(t *testing.T) {
	h := newHost(t)
	h.compose("v1", "hello", h.port, "old.txt")
	h.begin()
	h.ended(1, agent.StateSucceeded)
	text, err := os.ReadFile(filepath.Join(h.dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(string(text), `"compose.yaml"`, fmt.Sprintf("%q", filepath.Join(h.dir, "compose.yaml")))
	found := probes(t, config, world)
	want(t, found, "docker", "docker.sock", "ok", "Engine ", "API ")
	want(t, found, "service", "web", "ok", "1 compose service: web")
	want(t, found, "registry", h.bed.Ref("app", "v1"), "ok", "sha256:", "without a login")
	want(t, found, "files", "web", "ok", "changes are noticed")
	want(t, found, "state", "state", "ok", "free")
	want(t, found, "socket", "agent.sock", "ok", "the agent runs")
	want(t, found, "health", "web", "ok", "1 container runs")
	want(t, found, "health", "web http", "ok", "HTTP 200")
	if again := probes(t, config, world); order(again) != order(found) {
		t.Errorf("got order\n%s\nthen\n%s", order(found), order(again))
	}
	if all, err := h.client.Deployments(t.Context(), agent.HistoryFilter{Limit: 10}); err != nil || len(all) != 1 {
		t.Errorf("got %d deployments, %v, want the one from before", len(all), err)
	}

	found = probes(t, strings.ReplaceAll(config, "/health\"", "/sick\""), world)
	want(t, found, "health", "web http", "FAIL", "HTTP 404", "rolled back")
}

func TestProbeImages(t *testing.T) {
	open, private := testbed.New(t), testbed.New(t, testbed.RegistryOptions{User: "ada", Password: "engine"})
	dir, bin := t.TempDir(), t.TempDir()
	good, digest := open.Push("app", "v1", testbed.Good)
	secret, _ := private.Push("app", "v1", testbed.Good)
	pullImage(t, open, good)
	local := "homemade-" + open.Run + ":v1"
	if _, err := open.Docker(t).ImageTag(t.Context(), client.ImageTagOptions{Source: good, Target: local}); err != nil {
		t.Fatal(err)
	}
	gone, _ := open.Push("app", "gone", testbed.Good)
	pullImage(t, open, gone)
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	helper := func(name, body string) {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	helper("tbgood", `read -r host; echo "{\"ServerURL\":\"$host\",\"Username\":\"ada\",\"Secret\":\"engine\"}"`)
	helper("tbbad", `echo "no session" && exit 1`)
	write := func(compose, dockerConfig string) string {
		t.Helper()
		file := writeFile(t, filepath.Join(dir, open.Run, "compose.yaml"), compose)
		return header(dir) + fmt.Sprintf("[registry]\ndocker_config = %q\n[service.web]\ncompose_file = %q\n", writeFile(t, filepath.Join(dir, "config.json"), dockerConfig), file)
	}
	everything := fmt.Sprintf("services:\n  a: {image: %s}\n  b: {image: '%s@%s'}\n  c: {image: %s}\n  d: {image: %s}\n  e: {image: %s}\n  f: {image: %s}\n",
		good, strings.TrimSuffix(good, ":v1"), digest, local, open.Ref("app", "never"), secret, good)

	found := probes(t, write(everything, "{}"), world)
	want(t, found, "registry", good, "ok", "without a login")
	want(t, found, "registry", "@sha256:", "ok", "pinned by digest")
	want(t, found, "registry", local, "ok", "local only")
	want(t, found, "registry", ":never", "FAIL", "no such image", "was it pushed?")
	want(t, found, "registry", secret, "FAIL", "docker login "+private.Registry.Host)
	if got := strings.Count(order(found), good+"\n"); got != 1 {
		t.Errorf("got %d questions about %s, want one", got, good)
	}

	one := fmt.Sprintf("services: {e: {image: %s}}", secret)
	auth := base64.StdEncoding.EncodeToString([]byte("ada:engine"))
	found = probes(t, write(one, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, private.Registry.Host, auth)), world)
	want(t, found, "registry", secret, "ok", "login from "+dir)
	uses := func(helper string) string {
		return fmt.Sprintf(`{"credHelpers":{%q:%q}}`, private.Registry.Host, helper)
	}
	want(t, probes(t, write(one, uses("tbgood")), world), "registry", secret, "warn", "login from docker-credential-tbgood, which is in "+bin, "/usr/local/bin")
	want(t, probes(t, write(one, uses("tbbad")), world), "registry", secret, "FAIL", "no session", "echo "+private.Registry.Host+" | docker-credential-tbbad get")
	want(t, probes(t, write(one, uses("tbnone")), world), "registry", secret, "FAIL", "install docker-credential-tbnone in /usr/local/bin", "/usr/local/sbin:/usr/local/bin:")
	open.Registry.Intercept(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	want(t, probes(t, write(fmt.Sprintf("services: {a: {image: %s}}", gone), "{}"), world), "registry", gone, "FAIL", "the copy on this host counts")
}

// Everything is asked, whatever failed before.
func TestProbeGoesOnAfterWhatFails(t *testing.T) {
	tb, dir := testbed.New(t), t.TempDir()
	good, _ := tb.Push("app", "v1", testbed.Good)
	file := writeFile(t, filepath.Join(dir, "compose.yaml"), fmt.Sprintf("services: {web: {image: %s}}", good))
	writeFile(t, filepath.Join(dir, "state"), "no directory")
	writeFile(t, filepath.Join(dir, "agent.sock"), "no socket")
	found := probes(t, header(dir)+fmt.Sprintf("[service.web]\ncompose_file = %q\ndocker_host = \"unix://%s/none.sock\"\n[service.lost]\ncompose_file = %q\nproject = \"lost\"\n", file, dir, file), world)
	want(t, found, "docker", "none.sock", "FAIL", "start Docker")
	want(t, found, "docker", "/var/run/docker.sock", "ok")
	want(t, found, "service", "web", "warn", "the engine does not answer")
	want(t, found, "registry", good, "ok")
	want(t, found, "files", "web", "ok")
	want(t, found, "state", "state", "FAIL", "no directory")
	want(t, found, "socket", "agent.sock", "FAIL", "something else")
	want(t, found, "health", "web", "FAIL", "none.sock")
	want(t, found, "health", "lost", "warn", "nothing of it runs")
}

func TestProbeFiles(t *testing.T) {
	dir := t.TempDir()
	text := "services:\n  web:\n    image: app\n    configs: [odd, lost]\nconfigs: {odd: {file: ./odd}, lost: {file: ./lost}}\n"
	file := writeFile(t, filepath.Join(dir, "compose.yaml"), text)
	if err := os.MkdirAll(filepath.Join(dir, "odd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	config := header(dir) + fmt.Sprintf("[service.web]\ncompose_file = %q\n", file)
	found := probes(t, config, world)
	want(t, found, "files", "web", "warn", filepath.Join(dir, "odd")+" is a directory", filepath.Join(dir, "lost")+" is a link to nothing")
	if err := os.Symlink("nowhere", filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	want(t, probes(t, config, world), "state", "state", "FAIL", "link to nothing")
	long := strings.Replace(config, "agent.sock", strings.Repeat("long", 30)+".sock", 1)
	want(t, probes(t, long, world), "socket", "long", "FAIL", "107")
	writeFile(t, file, text+"  # changed\nservices: {}\n")
	want(t, probes(t, config, world), "service", "web", "FAIL", "services")
}

func TestProbeSickAndUnproved(t *testing.T) {
	tb, dir := testbed.New(t), t.TempDir()
	project := tb.Project(t)
	sick, _ := tb.Push("app", "sick", testbed.Sick, testbed.Check(200*time.Millisecond, 0, 1))
	plain, _ := tb.Push("app", "plain", testbed.Good)
	pullImage(t, tb, sick)
	pullImage(t, tb, plain)
	file := writeFile(t, filepath.Join(dir, "compose.yaml"), fmt.Sprintf("services: {web: {image: %s}}", plain))
	config := header(dir) + fmt.Sprintf("[service.web]\ncompose_file = %q\nproject = %q\n", file, project)
	svc := agent.Service{Name: "web", Target: "compose", Compose: agent.Compose{Files: []string{file}, Project: project}}
	up(t, svc)
	want(t, probes(t, config, world), "health", "web", "warn", "nothing proves")
	writeFile(t, file, fmt.Sprintf("services: {web: {image: %s}}", sick))
	up(t, svc)
	testbed.Eventually(t, 20*time.Second, func() error {
		for _, f := range probes(t, config, world) {
			if f.Kind == "health" && !f.OK && strings.Contains(f.Detail, "unhealthy") {
				return nil
			}
		}
		return fmt.Errorf("no finding says unhealthy")
	})
}

func TestProbeSlack(t *testing.T) {
	slack, err := testbed.StartSlack(testbed.SlackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slack.Close() })
	hook := writeFile(t, filepath.Join(t.TempDir(), "hook"), slack.WebhookURL()+"\n")
	if err := os.Chmod(hook, 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[slack]\nwebhook_url_file = %q\n", hook)
	want(t, probes(t, config, world), "slack", "webhook", "ok")
	if got := len(slack.Messages()); got != 0 {
		t.Errorf("got %d messages, want none without --send-test", got)
	}
	found := probes(t, config, daemon.ProbeOptions{SendTest: true})
	want(t, found, "slack", "webhook", "ok", "posted")
	if got := len(slack.Messages()); got != 1 || len(found) != 1 {
		t.Errorf("got %d messages and %d findings, want one of each", got, len(found))
	}
	if err := os.WriteFile(hook, []byte(slack.WebhookURL()+"wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	found = probes(t, config, daemon.ProbeOptions{SendTest: true})
	want(t, found, "slack", "webhook", "FAIL")
	if strings.Contains(fmt.Sprint(found), "/services/") {
		t.Errorf("got %v, want no URL in it", found)
	}
	want(t, probes(t, "", daemon.ProbeOptions{SendTest: true}), "slack", "–", "FAIL", "no [slack] is configured", "webhook_url_file")
}
