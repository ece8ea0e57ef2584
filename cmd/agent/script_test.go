package main

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"rollback-agent/agent"
	"rollback-agent/agent/history"
)

// TestMain gives the scripts the real agent command, and one to prepare a history.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"agent":          main,
		"record-history": recordHistory,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command that must end with an exit code: exits 3 agent status.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	script := `code=$1; shift; "$@"; got=$?; test $got = $code || { echo "exit code $got, want $code" >&2; exit 99; }`
	err := ts.Exec("sh", append([]string{"-c", script, "sh"}, args...)...)
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

// recordHistory writes a good and a rolled back deployment of two services to
// the state directory that it is given.
func recordHistory() {
	store, err := history.Open(filepath.Join(os.Args[1], "history.db"), history.Options{})
	for _, entry := range entries(time.Now().Add(-2 * time.Hour)) {
		if err == nil {
			_, err = store.Record(entry)
		}
	}
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}

func entries(begin time.Time) []agent.Entry {
	good := []agent.Artifact{{Name: "app", Ref: "registry:5000/shop:v1", Digest: "sha256:" + "11112222333344445555", Count: 1}}
	bad := []agent.Artifact{{Name: "app", Ref: "registry:5000/shop:v2", Digest: "sha256:" + "66667777888899990000", Count: 1}}
	first := deployment("shop", agent.StateSucceeded, agent.ReasonHealthy, begin, good)
	first.To, first.Serving = 1, agent.ServingNew
	second := deployment("shop", agent.StateRolledBack, agent.ReasonCrash, begin.Add(time.Hour), bad)
	second.From, second.To, second.Restored, second.Serving = 1, 2, 3, agent.ServingOld
	second.Message, second.Hint = "app exited three times", "agent show --diff 2"
	second.Diagnoses = []agent.Diagnosis{{
		Instance: "shop-app-1", Artifact: "app", Phase: agent.PhaseExited, ExitCode: 137, OOMKilled: true, Restarts: 2,
		HealthOutput: "connection refused", Log: []string{"starting", "panic: \x1b[31mno config"},
	}}
	second.Verdicts = []agent.Verdict{{
		At: begin.Add(time.Hour + 3*time.Second), Gate: "crash", Outcome: agent.OutcomeFail, Reason: agent.ReasonCrash, Evidence: "3 exits, 2 tolerated",
	}}
	return []agent.Entry{
		{Deployment: first, Releases: []agent.Release{release(1, good, "services:\n  app:\n    image: shop:v1\n    restart: always\n", begin)}},
		{Deployment: deployment("blog", agent.StateSucceeded, agent.ReasonUnverified, begin.Add(time.Minute), nil)},
		{
			Service:    &agent.ServiceRecord{Name: "shop", Adopted: true, Serving: 3, Last: 3},
			Deployment: second,
			Releases: []agent.Release{
				release(2, bad, "services:\n  app:\n    image: shop:v2\n    restart: always\n", begin),
				release(3, good, "services:\n  app:\n    image: shop:v1\n    restart: always\n", begin.Add(time.Hour)),
			},
			Quarantine: []agent.Quarantined{{Service: "shop", Fingerprint: "1:2", Reason: agent.ReasonCrash, At: begin.Add(time.Hour), Artifacts: bad}},
			Event: &agent.Event{
				At: begin.Add(time.Hour), Kind: agent.EventTransition, Service: "shop", From: agent.StateRollingBack, To: agent.StateRolledBack,
				Reason: agent.ReasonCrash, Message: "shop is back at r1", Severity: agent.SeverityError,
			},
		},
	}
}

func deployment(service string, state agent.State, reason agent.Reason, begin time.Time, artifacts []agent.Artifact) *agent.Deployment {
	return &agent.Deployment{
		Service: service, Kind: agent.KindDeploy, State: state, Reason: reason, Artifacts: artifacts, Actor: "agent (files)",
		StartedAt: begin, EndedAt: begin.Add(4200 * time.Millisecond),
		Timeline: []agent.Step{
			{At: begin, State: agent.StateQueued, Reason: agent.ReasonStarted, Detail: "the files changed"},
			{At: begin.Add(4200 * time.Millisecond), State: state, Reason: reason},
		},
		Config: agent.Service{Health: agent.Health{Headers: map[string]agent.Secret{"Authorization": "hunter2"}}},
	}
}

func release(n int64, artifacts []agent.Artifact, model string, at time.Time) agent.Release {
	return agent.Release{
		Service: "shop", Number: n, Artifacts: artifacts, Model: model, CreatedAt: at,
		Fingerprint: "1:" + cmp.Or(map[int64]string{2: "2"}[n], "1"), Standing: agent.StandingStable,
	}
}
