package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
	"rollback-agent/agent/daemon"
	"rollback-agent/agent/testbed"
)

// poll is how often the fleet's registry is asked: the shortest that the config
// allows.
const poll = time.Second

// fleet is a real engine, a real registry, and an agent with several services that
// polls it.
type fleet struct {
	t      *testing.T
	bed    *testbed.Testbed
	dir    string
	top    string // of the config, before the services
	units  []*unit
	log    *journal
	client *control.Client
	stop   func()
}

// unit is one service with a compose project of its own.
type unit struct {
	*fleet
	name    string // unlike any other agent's on this engine: images are kept by it
	dir     string
	project string
	port    int
	keys    string // of its section
	query   string // of its health URL
	seen    int64  // its newest deployment that the test knows of
}

func newFleet(t *testing.T, opts ...testbed.RegistryOptions) *fleet {
	t.Helper()
	t.Parallel() // most of the time it waits for polls
	f := &fleet{t: t, bed: testbed.New(t, opts...), dir: t.TempDir(), log: &journal{}}
	t.Cleanup(func() {
		if t.Failed() { // t.Output would not do: the SDK's own logger outlives the test
			t.Logf("the agent's log:\n%s", f.log.without("level=DEBUG"))
		}
	})
	f.client = control.NewClient(f.path("agent.sock"), 5*time.Second)
	return f
}

func (f *fleet) path(name string) string { return filepath.Join(f.dir, name) }

// unit adds a service whose name begins so; keys are lines of its section.
func (f *fleet) unit(name string, keys ...string) *unit {
	f.t.Helper()
	u := &unit{fleet: f, name: name + "-" + f.bed.Run, dir: name, project: f.bed.Project(f.t), port: testbed.Port(f.t), keys: strings.Join(keys, "\n")}
	f.units = append(f.units, u)
	return u
}

// put saves a file as an editor does: beside it, then renamed.
func (f *fleet) put(name, text string) {
	f.t.Helper()
	path := f.path(name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+".new", []byte(text), 0o600))
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		f.t.Fatal(err)
	}
}

// configure writes the config, with what the units and top say now.
func (f *fleet) configure() {
	f.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir = %q\nsocket = %q\nhost = \"vm-17\"\n", f.path("state"), f.path("agent.sock"))
	if !strings.Contains(f.top, "[registry]") {
		fmt.Fprintf(&b, "[registry]\npoll_interval = %q\n", poll)
	}
	fmt.Fprintln(&b, f.top)
	for _, u := range f.units {
		fmt.Fprintf(&b, `
[service.%s]
compose_file = "%s/compose.yaml"
health_url = "http://127.0.0.1:%d/health%s"
health_interval = "50ms"
health_timeout = "1s"
min_healthy_time = "200ms"
health_deadline = "2500ms"
watch_for = "200ms"
max_restarts = 0
debounce = "100ms"
%s
`, u.name, u.dir, u.port, u.query, u.keys)
	}
	f.put("config.toml", b.String())
}

// compose writes the compose file of the unit; lines are more keys of its one
// compose service.
func (u *unit) compose(image string, lines ...string) {
	u.t.Helper()
	var text strings.Builder
	text.WriteString(fmt.Sprintf("name: %s\nservices:\n  web:\n    image: %s\n    ports: [\"127.0.0.1:%d:8080\"]\n", u.project, image, u.port))
	for _, line := range lines {
		text.WriteString("    " + line + "\n")
	}
	u.put(u.dir+"/compose.yaml", text.String())
}

func (f *fleet) begin() {
	f.t.Helper()
	f.configure()
	f.resume()
}

// resume starts the agent with the config as it is.
func (f *fleet) resume() {
	f.t.Helper()
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := daemon.New(daemon.Options{Config: f.path("config.toml"), Log: log})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("got %v, want the agent to stop in order", err)
		}
	})
	f.t.Cleanup(f.stop)
}

// journal is the agent's whole log.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// without is the log but for the lines that hold a word.
func (j *journal) without(word string) string {
	var kept strings.Builder
	for line := range strings.Lines(j.String()) {
		if !strings.Contains(line, word) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// newest is the unit's newest deployment.
func (u *unit) newest() (control.Deployment, error) {
	list, err := u.client.Deployments(u.t.Context(), agent.HistoryFilter{Service: u.name, Limit: 1})
	if err != nil || len(list) == 0 {
		return control.Deployment{}, errors.Join(err, errNone)
	}
	return list[0], nil
}

var errNone = errors.New("there is no deployment")

// in waits until a deployment that the test does not know yet is in a state.
func (u *unit) in(states ...agent.State) control.Deployment {
	u.t.Helper()
	var d control.Deployment
	testbed.Eventually(u.t, 60*time.Second, func() (err error) {
		switch d, err = u.newest(); {
		case err != nil:
			return err
		case d.ID <= u.seen:
			return fmt.Errorf("%s: nothing new since deployment %d", u.name, u.seen)
		case d.State.Ended() && !slices.Contains(states, d.State):
			u.t.Fatalf("got deployment %d of %s %s (%s: %s), want %v", d.ID, u.name, d.State, d.Reason, d.Message, states)
		case !slices.Contains(states, d.State):
			return fmt.Errorf("deployment %d of %s is %s (%s)", d.ID, u.name, d.State, d.Message)
		}
		return nil
	})
	return d
}

// next waits for the unit's next deployment to end in a state.
func (u *unit) next(state agent.State) control.Deployment {
	u.t.Helper()
	d := u.in(state)
	u.seen = d.ID
	return d
}

// still fails the test when the unit was deployed meanwhile.
func (u *unit) still() {
	u.t.Helper()
	if d, err := u.newest(); err != nil || d.ID != u.seen {
		u.t.Errorf("got deployment %d of %s (%s: %s), %v, want none since %d", d.ID, u.name, d.State, d.Message, err, u.seen)
	}
}

// status waits until the unit's status is as ask wants it.
func (u *unit) status(ask func(agent.Status) error) {
	u.t.Helper()
	testbed.Eventually(u.t, 30*time.Second, func() error {
		all, err := u.client.Status(u.t.Context())
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(s agent.Status) bool { return s.Service == u.name })
		if at < 0 {
			return fmt.Errorf("there is no %s in %+v", u.name, all)
		}
		return ask(all[at])
	})
}

// planned waits for the reason why the unit is, or is not, deployed.
func (u *unit) planned(reason agent.Reason) {
	u.t.Helper()
	u.status(func(s agent.Status) error {
		if s.Plan.Reason != reason {
			return fmt.Errorf("%s: got plan %+v, want %s", u.name, s.Plan, reason)
		}
		return nil
	})
}

// serves waits until the unit answers with a version.
func (u *unit) serves(version string) {
	u.t.Helper()
	testbed.Eventually(u.t, 15*time.Second, func() error {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", u.port))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && !strings.Contains(string(body), `"version":"`+version+`"`) {
			err = fmt.Errorf("%s: got %s, want version %s", u.name, body, version)
		}
		return err
	})
}

func (u *unit) order(order agent.Order) agent.Receipt {
	u.t.Helper()
	order.Service = u.name
	receipt, err := u.client.Order(u.t.Context(), order)
	if err != nil {
		u.t.Fatalf("%s %s: %v (%s)", order.Verb, u.name, err, agent.Hint(err))
	}
	return receipt
}

// push moves a tag to an app of that version and fate.
func (f *fleet) push(tag, version string, mode testbed.Mode, opts ...testbed.Option) (digest string) {
	f.t.Helper()
	_, digest = f.bed.Push("app", tag, mode, append(opts, func(i *testbed.Image) { i.Version = version })...)
	return digest
}

// heads counts the agent's own questions to the registry, and fails the test when
// there is anything among them but HEAD requests.
func (f *fleet) heads() int {
	f.t.Helper()
	n := 0
	for _, r := range f.bed.Registry.Requests() {
		switch {
		case !strings.HasPrefix(r.UserAgent, "rollback-agent"):
		case r.Method == http.MethodHead:
			n++
		default:
			f.t.Errorf("got %s %s by the agent, want HEAD requests only", r.Method, r.Path)
		}
	}
	return n
}

// polls waits until the registry was asked so often.
func (f *fleet) polls(n int) {
	f.t.Helper()
	f.bed.Registry.Forget()
	testbed.Eventually(f.t, time.Duration(n+5)*poll, func() error {
		if got := f.heads(); got < n {
			return fmt.Errorf("got %d polls, want %d", got, n)
		}
		return nil
	})
}
