package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/control"
	"rollback-agent/agent/history"
)

// fakeAgent accepts orders and takes its deployments through the states a test
// asks for, in a real history behind a real socket.
type fakeAgent struct {
	*history.Store
	t      *testing.T
	path   []agent.State // of the next deployment; empty: nothing to do
	reason agent.Reason
	hold   chan struct{} // the last step waits for it

	mu     sync.Mutex
	orders []agent.Order
	work   sync.WaitGroup
}

func (f *fakeAgent) Order(_ context.Context, order agent.Order) (agent.Receipt, error) {
	f.mu.Lock()
	f.orders = append(f.orders, order)
	f.mu.Unlock()
	switch {
	case order.Service == "nobody":
		return agent.Receipt{}, agent.WithHint(errors.New(`there is no service "nobody"`), "the services are: web")
	case len(f.path) == 0:
		return agent.Receipt{Message: "serving what is wanted already", Hint: "--force deploys it again"}, nil
	}
	d := f.step(agent.Deployment{Service: "web", Kind: agent.KindDeploy, StartedAt: time.Now(), To: 1}, f.path[0])
	f.work.Go(func() { f.carryOut(d, f.path[1:]) })
	return agent.Receipt{Deployment: d.ID, Message: "deployment begins"}, nil
}

func (f *fakeAgent) carryOut(d agent.Deployment, path []agent.State) {
	for i, state := range path {
		if i == len(path)-1 && f.hold != nil {
			<-f.hold
		}
		d = f.step(d, state)
	}
}

func (f *fakeAgent) step(d agent.Deployment, state agent.State) agent.Deployment {
	event := &agent.Event{At: time.Now(), Kind: agent.EventTransition, Service: d.Service, Deployment: d.ID, From: d.State, To: state}
	d.State, d.Reason = state, f.reason
	d.Timeline = append(d.Timeline, agent.Step{At: time.Now(), State: state, Reason: f.reason, Detail: "because " + string(state)})
	if state.Ended() {
		d.EndedAt = time.Now()
	}
	entry, err := f.Record(agent.Entry{Deployment: &d, Event: event})
	if err != nil {
		f.t.Error(err)
		return d
	}
	return *entry.Deployment
}

func (f *fakeAgent) Notices(context.Context) ([]agent.Notice, error) { return nil, nil }

func (f *fakeAgent) Status(context.Context) ([]agent.Status, error) {
	return []agent.Status{{
		Service: "web", State: "serving", Release: 3, Healthy: "healthy", Since: time.Now().Add(-2 * time.Hour),
		Artifacts:  []agent.Artifact{{Name: "app", Ref: "registry:5000/acme/web:1.4", Digest: "sha256:0123456789abcdef"}},
		Plan:       agent.Plan{Action: agent.PlanSkip, Reason: agent.ReasonQuarantined, Detail: "it was rolled back once"},
		Quarantine: []agent.Quarantined{{Service: "web", Deployment: 7, Reason: agent.ReasonCrash, At: time.Now()}},
		Hint:       "agent retry web",
	}}, nil
}

// newFakeAgent serves until the test ends.
func newFakeAgent(t *testing.T, path ...agent.State) (*fakeAgent, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := history.Open(filepath.Join(dir, "history.db"), history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeAgent{Store: store, t: t, path: path, reason: agent.ReasonUnhealthy}
	socket := filepath.Join(dir, "agent.sock")
	server, err := control.Listen(socket, control.ServerOptions{Backend: f})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		f.work.Wait()
		stop()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
	return f, socket
}

type result struct {
	code           int
	stdout, stderr string
}

// agentCLI runs one command line.
func agentCLI(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(t.Context(), args, strings.NewReader(""), &stdout, &stderr, Agent{Run: func(context.Context, Options) error { return nil }})
	return result{code, stdout.String(), stderr.String()}
}

func TestField08WaitEndsWithTheExitCodeOfTheDeployment(t *testing.T) {
	begin := []agent.State{agent.StateQueued, agent.StateFetching, agent.StateApplying, agent.StateVerifying}
	for name, c := range map[string]struct {
		verb string
		path []agent.State
		want int
	}{
		"succeeded":       {"deploy", append(begin[:4:4], agent.StateWatching, agent.StateSucceeded), 0},
		"failed":          {"deploy", append(begin[:2:2], agent.StateFailed), 1},
		"superseded":      {"deploy", append(begin[:4:4], agent.StateSuperseded), 1},
		"cancelled":       {"deploy", append(begin[:1:1], agent.StateCancelled), 1},
		"rolled back":     {"deploy", append(begin[:4:4], agent.StateRollingBack, agent.StateRolledBack), 4},
		"retried in vain": {"retry", append(begin[:4:4], agent.StateRollingBack, agent.StateRolledBack), 4},
		"rollback failed": {"deploy", append(begin[:4:4], agent.StateRollingBack, agent.StateRollbackFailed), 5},
		"aborted":         {"rollback", append(begin[:4:4], agent.StateRollingBack, agent.StateRolledBack), 0},
		"a rollback":      {"rollback", append(begin[:4:4], agent.StateWatching, agent.StateSucceeded), 0},
		"held":            {"deploy", append(begin[:4:4], agent.StateHeld), 6},
	} {
		t.Run(name, func(t *testing.T) {
			_, socket := newFakeAgent(t, c.path...)
			got := agentCLI(t, c.verb, "web", "--wait", "--socket", socket)
			if got.code != c.want {
				t.Errorf("got %+v, want exit code %d", got, c.want)
			}
			last := 0
			for _, state := range c.path {
				at := strings.Index(got.stdout, "because "+string(state))
				if at < last {
					t.Errorf("got %s, want a line for %s, in order", got.stdout, state)
				}
				last = at
			}
		})
	}
}

func TestWaitFinalGoesOnWhileHeld(t *testing.T) {
	f, socket := newFakeAgent(t, agent.StateQueued, agent.StateHeld, agent.StateSucceeded)
	f.hold = make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { close(f.hold) })
	if got := agentCLI(t, "deploy", "web", "--wait=final", "--socket", socket); got.code != 0 || !strings.Contains(got.stdout, "held") {
		t.Errorf("got %+v, want the end after the hold", got)
	}
}

func TestWaitPrintsTheDeploymentAsJSON(t *testing.T) {
	_, socket := newFakeAgent(t, agent.StateQueued, agent.StateFetching, agent.StateFailed)
	got := agentCLI(t, "deploy", "web", "--wait", "--socket", socket, "-o", "json")
	var d control.Deployment
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil || d.State != agent.StateFailed || got.code != 1 {
		t.Errorf("got %+v, %v, want one failed deployment", got, err)
	}
}

// A deployment may have ended before its command looks.
func TestWaitForWhatHasEnded(t *testing.T) {
	_, socket := newFakeAgent(t, agent.StateFailed)
	if got := agentCLI(t, "deploy", "web", "--wait", "--socket", socket); got.code != exitError {
		t.Errorf("got %+v, want exit code %d", got, exitError)
	}
}

func TestCtrlCEndsTheWaitingOnly(t *testing.T) {
	f, socket := newFakeAgent(t, agent.StateQueued, agent.StateFetching, agent.StateApplying)
	f.hold = make(chan struct{})
	defer close(f.hold)
	stop := context.AfterFunc(waitForFollower(t, f), func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
	})
	defer stop()
	got := agentCLI(t, "deploy", "web", "--wait", "--socket", socket)
	if got.code != 130 || !strings.Contains(got.stderr, "the deployment goes on") {
		t.Errorf("got %+v, want 130 and that the deployment goes on", got)
	}
}

// waitForFollower ends a moment after the order arrived, when its command follows.
func waitForFollower(t *testing.T, f *fakeAgent) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for {
			changed := f.Changed()
			if last, err := f.LastEvent(); err != nil || last >= 2 {
				<-time.After(100 * time.Millisecond)
				return
			}
			<-changed
		}
	}()
	return ctx
}

func TestOrdersSayWhatTheyAskFor(t *testing.T) {
	f, socket := newFakeAgent(t)
	for line, want := range map[string]agent.Order{
		"deploy web --force --note why": {Verb: agent.VerbDeploy, Service: "web", Force: true, Note: "why"},
		"rollback web --to r12":         {Verb: agent.VerbRollback, Service: "web", Release: 12},
		"rollback web":                  {Verb: agent.VerbRollback, Service: "web"},
		"retry web":                     {Verb: agent.VerbRetry, Service: "web"},
		"cancel 7":                      {Verb: agent.VerbCancel, Deployment: 7},
		"cancel web":                    {Verb: agent.VerbCancel, Service: "web"},
		"keep 7 --note fine":            {Verb: agent.VerbKeep, Deployment: 7, Note: "fine"},
		"pause web --for 90m":           {Verb: agent.VerbPause, Service: "web", For: 90 * time.Minute},
		"resume web":                    {Verb: agent.VerbResume, Service: "web"},
	} {
		got := agentCLI(t, append(strings.Fields(line), "--socket", socket)...)
		if got.code != 0 || len(f.orders) == 0 {
			t.Errorf("%s: got %+v, want 0", line, got)
			continue
		}
		order := f.orders[len(f.orders)-1]
		if !strings.HasPrefix(order.Actor, "uid "+strconv.Itoa(os.Getuid())) {
			t.Errorf("%s: got actor %q, want this user", line, order.Actor)
		}
		if order.Actor = ""; !reflect.DeepEqual(order, want) {
			t.Errorf("%s: got %+v, want %+v", line, order, want)
		}
	}
}

func TestNothingToDoIsFine(t *testing.T) {
	_, socket := newFakeAgent(t)
	got := agentCLI(t, "deploy", "web", "--wait", "--socket", socket)
	want := result{0, "serving what is wanted already\n", "agent: hint: --force deploys it again\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRefusalIsAnErrorWithAHint(t *testing.T) {
	_, socket := newFakeAgent(t)
	got := agentCLI(t, "deploy", "nobody", "--socket", socket)
	want := result{1, "", "agent: error: there is no service \"nobody\"\nagent: hint: the services are: web\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStatusOnOneScreen(t *testing.T) {
	_, socket := newFakeAgent(t)
	got := agentCLI(t, "status", "--socket", socket)
	want := `SERVICE  STATE    RELEASE  IMAGE                 SINCE        HEALTH   WANTED
web      serving  r3       web:1.4@0123456789ab  2 hours ago  healthy  quarantined: it was rolled back once
    quarantined: –, now, deployment 7 (crash)
    hint: agent retry web
`
	if got.code != 0 || got.stdout != want {
		t.Errorf("got %+v, want\n%s", got, want)
	}
	if got := agentCLI(t, "status", "wbe", "--socket", socket); got.code != 2 {
		t.Errorf("got %+v for an unknown service, want 2", got)
	}
}

func TestNamesAndNumbersComplete(t *testing.T) {
	f, socket := newFakeAgent(t)
	f.step(agent.Deployment{Service: "web"}, agent.StateFailed)
	for line, want := range map[string]string{
		"deploy":            "web\n",
		"status":            "web\n",
		"history --service": "web\n",
		"show":              "1\tweb: failed\n",
		"events --output":   "table\njson\n",
	} {
		args := append([]string{"__complete", "--socket", socket}, append(strings.Fields(line), "")...)
		if got := agentCLI(t, args...); !strings.HasPrefix(got.stdout, want) {
			t.Errorf("%s: got %q, want %q", line, got.stdout, want)
		}
	}
}

func TestHistoryReadsManyPages(t *testing.T) {
	f, socket := newFakeAgent(t)
	for range control.MaxPage + 5 {
		f.step(agent.Deployment{Service: "web"}, agent.StateFailed)
	}
	for limit, want := range map[string]int{"0": control.MaxPage + 5, "1002": 1002, "1000": 1000, "3": 3} {
		got := agentCLI(t, "history", "--limit", limit, "-o", "json", "--socket", socket)
		var list []control.Deployment
		if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || len(list) != want || list[0].ID != control.MaxPage+5 {
			t.Errorf("--limit %s: got %d, %v, want %d, newest first", limit, len(list), err, want)
		}
	}
}

func TestStoreInUseWithoutASocket(t *testing.T) {
	f, _ := newFakeAgent(t)
	got := agentCLI(t, "history", "--state-dir", filepath.Dir(f.Path()), "--socket", filepath.Join(t.TempDir(), "none"))
	if got.code != 1 || !strings.Contains(got.stderr, "is in use, and no agent answers") {
		t.Errorf("got %+v, want an error that says so", got)
	}
}
