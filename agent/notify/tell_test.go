package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"rollback-agent/agent"
)

// story is a deployment as it was recorded, with what is known of its service.
type story struct {
	dep      agent.Deployment
	record   agent.ServiceRecord
	severity agent.Severity
	releases []agent.Release
}

// tells records the story and returns what people are shown of it.
func (s story) tells(t *testing.T) Message {
	t.Helper()
	var shown Message
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		s.dep.Service, s.dep.StartedAt, s.record.Name = "shop", time.Now(), "shop"
		if s.dep.Kind == "" {
			s.dep.Kind = agent.KindDeploy
		}
		for i := range s.releases {
			s.releases[i].Service = "shop"
		}
		settings := o.n.settings
		settings.On = append(slices.Clone(usual), OnSucceeded)
		o.n.Use(settings)
		synctest.Wait()
		o.record(agent.Entry{
			Service: &s.record, Deployment: &s.dep, Releases: s.releases,
			Event: &agent.Event{Kind: agent.EventTransition, Service: "shop", From: agent.StateVerifying, To: s.dep.State, Severity: s.severity},
		})
		synctest.Wait()
		shown = o.people.shown["deployment/1 on vm-1"]
	})
	return shown
}

func (m Message) fact(name string) string {
	for _, f := range m.Facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func failing(reason agent.Reason, evidence string) []agent.Verdict {
	return []agent.Verdict{{Gate: "crash", Outcome: agent.OutcomeFail, Reason: reason, Evidence: evidence}}
}

func steps(states ...agent.State) []agent.Step {
	var steps []agent.Step
	for _, s := range states {
		steps = append(steps, agent.Step{At: time.Now(), State: s})
	}
	return steps
}

func TestTitleSaysWhatHappenedWhyAndWhatServes(t *testing.T) {
	paused := agent.ServiceRecord{Pause: &agent.Pause{By: "agent", Reason: agent.ReasonStorm}}
	releases := []agent.Release{{Number: 2}, {Number: 3}, {Number: 4, Restores: 2}}
	rolledBack := agent.Deployment{
		State: agent.StateRolledBack, Reason: agent.ReasonCrash, From: 2, To: 3, Restored: 4, Serving: agent.ServingOld,
		Verdicts: failing(agent.ReasonCrash, "it exited"),
	}
	unsure := rolledBack
	unsure.Serving = agent.ServingUnknown
	failed := func(serving agent.Serving, from int64, states ...agent.State) agent.Deployment {
		return agent.Deployment{State: agent.StateFailed, Reason: agent.ReasonUnresolvable, From: from, To: 3, Serving: serving, Timeline: steps(states...)}
	}
	for _, c := range []struct {
		story
		title string
		icon  Icon
		shown agent.Severity
	}{
		{story{dep: rolledBack, releases: releases, severity: agent.SeverityError}, "rolled back (crash), r2 serves again", IconBack, agent.SeverityError},
		{story{dep: rolledBack, releases: releases, record: paused}, "rolled back (crash), r2 serves again; automation is paused", IconBack, ""},
		{
			story{dep: rolledBack, releases: releases, record: agent.ServiceRecord{Pause: &agent.Pause{By: "anna"}}},
			"rolled back (crash), r2 serves again", IconBack, "",
		},
		{story{dep: unsure, releases: releases}, "rolled back (crash), what serves is unknown", IconBad, ""},
		{story{dep: agent.Deployment{State: agent.StateHeld, Reason: agent.ReasonHealthDeadline, To: 3}}, "held (health_deadline), decide", IconAsk, ""},
		{
			story{dep: agent.Deployment{
				State: agent.StateHeld, Reason: agent.ReasonIrreversible, To: 3, Verdicts: failing(agent.ReasonOOM, "no memory"),
			}}, "held (oom, irreversible), decide", IconAsk, "",
		},
		{story{dep: agent.Deployment{State: agent.StateSucceeded, Reason: agent.ReasonHealthy, To: 5}}, "r5 is deployed", IconGood, ""},
		{
			story{dep: agent.Deployment{State: agent.StateSucceeded, Reason: agent.ReasonKept, To: 27}},
			"r27 is kept although it did not prove its health", IconAsk, "",
		},
		{
			story{dep: agent.Deployment{State: agent.StateSucceeded, Reason: agent.ReasonHoldExpired, To: 27}, severity: agent.SeverityWarning},
			"r27 is kept although it did not prove its health", IconAsk, agent.SeverityWarning,
		},
		{
			story{dep: agent.Deployment{State: agent.StateSucceeded, Kind: agent.KindRollback, To: 4}, releases: releases},
			"rolled back by hand, r2 serves", IconGood, "",
		},
		{
			story{dep: failed(agent.ServingOld, 14, agent.StateFetching), severity: agent.SeverityError},
			"not deployed (unresolvable), r14 serves", IconInfo, agent.SeverityWarning,
		},
		{
			story{dep: failed(agent.ServingNone, 0, agent.StateFetching), severity: agent.SeverityError},
			"not deployed (unresolvable), nothing serves, as before", IconInfo, agent.SeverityWarning,
		},
		{
			story{dep: failed(agent.ServingOther, 14, agent.StateFetching), severity: agent.SeverityError},
			"not deployed (unresolvable), something else serves", IconInfo, agent.SeverityWarning,
		},
		{
			story{dep: failed(agent.ServingNone, 14, agent.StateApplying), severity: agent.SeverityError},
			"r3 failed (unresolvable), NOTHING serves", IconBad, agent.SeverityError,
		},
		{
			story{dep: failed(agent.ServingUnknown, 14, agent.StateFetching), severity: agent.SeverityError},
			"r3 failed (unresolvable), what serves is unknown", IconBad, agent.SeverityError,
		},
		{
			story{dep: agent.Deployment{
				State: agent.StateFailed, Reason: agent.ReasonOnFailure, To: 3, Serving: agent.ServingNew,
				Timeline: steps(agent.StateApplying), Verdicts: failing(agent.ReasonUnhealthy, "sick"),
			}}, "r3 failed (unhealthy, on_failure), r3 serves", IconBad, "",
		},
		{
			story{dep: agent.Deployment{
				State: agent.StateRollbackFailed, Reason: agent.ReasonRollbackFailed, Serving: agent.ServingMixed, Verdicts: failing(agent.ReasonCrash, "it exited"),
			}, record: paused, severity: agent.SeverityCritical},
			"THE ROLLBACK FAILED (crash), part new, part old serves; automation is paused", IconBad, agent.SeverityCritical,
		},
	} {
		m := c.tells(t)
		if want := "shop on vm-1: " + c.title; m.Title != want || m.Icon != c.icon || m.Severity != c.shown {
			t.Errorf("got %q (%s, %s), want %q (%s, %s)", m.Title, m.Icon, m.Severity, want, c.icon, c.shown)
		}
	}
}

func TestTitleHasRoomForWhatHappened(t *testing.T) {
	n := New(nil, nil, Settings{})
	n.using.Host = strings.Repeat("h", 60) + ".example.org"
	what := "rolled back (progress_deadline), what serves is unknown; automation is paused"
	got := n.title(strings.Repeat("é", 60), what)
	if utf8.RuneCountInString(got) > 146 || !strings.HasSuffix(got, ": "+what) {
		t.Errorf("got %q, want it short and whole at its end", got)
	}
	n.using.Host = "vm-17." + strings.Repeat("x", 100)
	if got, want := n.title("shop", "r5 is deployed"), "shop on vm-17: r5 is deployed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// app is a release of several artifacts: "web=1" has that digest.
func app(number int64, config string, images ...string) agent.Release {
	rel := agent.Release{Number: number, ConfigHash: config}
	for _, image := range images {
		name, digest, _ := strings.Cut(image, "=")
		rel.Artifacts = append(rel.Artifacts, agent.Artifact{Name: name, Ref: name + ":v", Digest: "sha256:" + digest, Config: digest, OneShot: name == "migrate"})
	}
	return rel
}

func TestOnlyImagesThatDifferAreShown(t *testing.T) {
	for _, c := range []struct {
		name           string
		from, to       agent.Release
		fromTo, serves string
	}{
		{"one of three", app(1, "c", "web=1", "db=5", "cache=6"), app(2, "c", "web=2", "db=5", "cache=6"), "r1 web:v@1 → r2 web:v@2", "r2 web:v@2"},
		{"none", app(1, "c", "web=1", "db=5"), app(2, "d", "web=1", "db=5"), "r1 → r2, same images, other config", "r2"},
		{"none, forced", app(1, "c", "web=1", "db=5"), app(2, "c", "web=1", "db=5"), "r1 → r2, same images, same config", "r2"},
		{"the only one stays", app(1, "c", "web=1"), app(2, "d", "web=1"), "r1 → r2, same images, other config", "r2 web:v@1"},
		{
			"many", app(1, "c", "a=1", "b=1", "c=1", "d=1", "e=1"), app(2, "c", "a=2", "b=2", "c=2", "d=2", "e=1"),
			"r1 a:v@1, b:v@1, c:v@1, and 1 more → r2 a:v@2, b:v@2, c:v@2, and 1 more", "r2 a:v@2, b:v@2, c:v@2, and 1 more",
		},
		{"one is new", app(1, "c", "web=1"), app(2, "d", "web=1", "db=5"), "r1 web:v@1 → r2 db:v@5", "r2 db:v@5"},
	} {
		m := story{
			dep:      agent.Deployment{State: agent.StateSucceeded, From: 1, To: 2, Serving: agent.ServingNew},
			releases: []agent.Release{c.from, c.to},
		}.tells(t)
		if got := m.fact("From → to"); got != c.fromTo {
			t.Errorf("%s: got from and to %q, want %q", c.name, got, c.fromTo)
		}
		if got := m.fact("Serves now"); got != c.serves {
			t.Errorf("%s: got serving %q, want %q", c.name, got, c.serves)
		}
	}
}

func TestLogsAreOfWhatFailed(t *testing.T) {
	line := []string{"a line"}
	web := agent.Diagnosis{Instance: "web-1", Artifact: "web", Phase: agent.PhaseRunning, Health: agent.HealthNone, Log: line}
	db := agent.Diagnosis{Instance: "db-1", Artifact: "db", Phase: agent.PhaseRunning, Health: agent.HealthHealthy, HealthOutput: "accepting connections", Log: line}
	migrate := agent.Diagnosis{Instance: "migrate-1", Artifact: "migrate", Phase: agent.PhaseExited, Log: line}
	with := func(d agent.Diagnosis, change func(*agent.Diagnosis)) agent.Diagnosis { change(&d); return d }
	crashed := with(web, func(d *agent.Diagnosis) { d.Phase, d.ExitCode = agent.PhaseExited, 1 })
	left := with(web, func(d *agent.Diagnosis) { d.Phase = agent.PhaseExited })
	botched := with(migrate, func(d *agent.Diagnosis) { d.ExitCode = 3 })
	sick := with(db, func(d *agent.Diagnosis) { d.Health, d.HealthOutput = agent.HealthUnhealthy, "no answer" })
	old := with(sick, func(d *agent.Diagnosis) { d.Health = "" })
	before := app(1, "c", "web=1", "db=5", "migrate=7")
	for _, c := range []struct {
		name      string
		to        agent.Release
		diagnoses []agent.Diagnosis
		logs      string
		evidence  string
	}{
		{"a probe failed", app(2, "c", "web=2", "db=5", "migrate=7"), []agent.Diagnosis{web, db, migrate}, "[web-1]", "[]"},
		{"a probe failed, nothing differs", app(2, "d", "web=1", "db=5", "migrate=7"), []agent.Diagnosis{web, db, migrate}, "[web-1 db-1]", "[]"},
		{"one crashed", app(2, "c", "web=2", "db=6", "migrate=7"), []agent.Diagnosis{crashed, db, migrate}, "[web-1]", "[web-1 is exited, exit code 1]"},
		{"one went away", app(2, "c", "web=2", "db=6", "migrate=7"), []agent.Diagnosis{left, db, migrate}, "[web-1]", "[web-1 is exited, exit code 0]"},
		{"a one-shot failed", app(2, "c", "web=2", "db=6", "migrate=8"), []agent.Diagnosis{web, db, botched}, "[migrate-1]", "[migrate-1 is exited, exit code 3]"},
		{"one is sick", app(2, "c", "web=2", "db=5", "migrate=7"), []agent.Diagnosis{web, sick, migrate}, "[db-1]", "[db-1 is running and unhealthy, HEALTHCHECK says: no answer]"},
		{"an old record", app(2, "c", "web=2", "db=5", "migrate=7"), []agent.Diagnosis{web, old, migrate}, "[db-1]", "[db-1 is running, HEALTHCHECK says: no answer]"},
	} {
		m := story{
			dep:      agent.Deployment{State: agent.StateRolledBack, From: 1, To: 2, Diagnoses: c.diagnoses},
			releases: []agent.Release{before, c.to},
		}.tells(t)
		var logs []string
		for _, l := range m.Logs {
			logs = append(logs, l.Instance)
		}
		if got := fmt.Sprint(logs); got != c.logs {
			t.Errorf("%s: got logs of %s, want %s", c.name, got, c.logs)
		}
		if got := fmt.Sprint(m.Evidence); got != c.evidence {
			t.Errorf("%s: got evidence %s, want %s", c.name, got, c.evidence)
		}
	}
}

func TestHeldSaysUntilWhen(t *testing.T) {
	for _, c := range []struct {
		name   string
		dep    agent.Deployment
		record agent.ServiceRecord
		want   string
	}{
		{"kept", agent.Deployment{Config: agent.Service{OnHoldExpiry: agent.HoldExpiryKeep}}, agent.ServiceRecord{}, "kept"},
		{"rolled back", agent.Deployment{Config: agent.Service{OnHoldExpiry: agent.HoldExpiryRollback}}, agent.ServiceRecord{}, "rolled back"},
		{"never undone", agent.Deployment{Irreversible: true, Config: agent.Service{OnHoldExpiry: agent.HoldExpiryRollback}}, agent.ServiceRecord{}, "kept"},
		{"not behind another", agent.Deployment{Config: agent.Service{OnHoldExpiry: agent.HoldExpiryRollback}}, agent.ServiceRecord{Irreversible: 9}, "kept"},
		{"by hand", agent.Deployment{Kind: agent.KindRollback, Config: agent.Service{OnHoldExpiry: agent.HoldExpiryRollback}}, agent.ServiceRecord{}, "kept"},
	} {
		// The bubble's clock begins at midnight UTC of 2000-01-01.
		until := time.Date(2000, 1, 3, 4, 17, 0, 0, time.UTC)
		c.dep.State, c.dep.Reason, c.dep.Deadlines.Hold, c.dep.From, c.dep.To = agent.StateHeld, agent.ReasonCrash, until, 1, 2
		m := story{dep: c.dep, record: c.record}.tells(t)
		if want := "Without a decision it is " + c.want + " at " + until.Local().Format("15:04 MST on Mon 2 Jan") + "."; !strings.Contains(m.Why, want) {
			t.Errorf("%s: got %q, want %q", c.name, m.Why, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		soon := time.Now().Truncate(24 * time.Hour).Add(time.Hour)
		if soon.Local().Format(time.DateOnly) != time.Now().Local().Format(time.DateOnly) {
			soon = time.Now()
		}
		if got, want := clock(soon), soon.Local().Format("15:04 MST"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestInvalidFilesAreNoEmergency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, true)
		o.event(agent.Event{Kind: agent.EventInvalid, Service: "shop", Message: "line 3: mend it", Hint: "mend it", Severity: agent.SeverityError})
		m := o.people.shown["invalid/shop on vm-1"]
		if m.Title != "shop on vm-1: its files cannot be loaded, what serves is untouched" || m.Icon != IconInfo || m.Severity != agent.SeverityWarning || !m.Loud {
			t.Errorf("got %q (%s, %s), want it said as what it is", m.Title, m.Icon, m.Severity)
		}
		if m.Hint != "" || m.Why != "line 3: mend it" {
			t.Errorf("got %q and the hint %q, want nothing twice", m.Why, m.Hint)
		}
		o.event(agent.Event{Kind: agent.EventValid, Service: "shop"})
		if got, want := o.people.title("invalid/shop"), "shop on vm-1: its files can be loaded again"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestNothingIsSaidTwice(t *testing.T) {
	evidence := "db-1 is unhealthy, says its HEALTHCHECK: no\n  answer"
	m := story{
		dep: agent.Deployment{
			State: agent.StateRollbackFailed, Reason: agent.ReasonRollbackFailed, Message: "db-1 is unhealthy, says its HEALTHCHECK: no answer",
			Verdicts:  append(failing(agent.ReasonUnhealthy, evidence), failing(agent.ReasonUnhealthy, evidence)...),
			Diagnoses: []agent.Diagnosis{{Instance: "db-1", Phase: agent.PhaseRunning, Health: agent.HealthUnhealthy, HealthOutput: "no answer"}},
		},
		record: agent.ServiceRecord{Pause: &agent.Pause{By: "agent", Note: "db-1 is unhealthy, says its HEALTHCHECK: no answer"}},
	}.tells(t)
	all := fmt.Sprint(m.Why, m.Evidence, m.Facts)
	if got := strings.Count(strings.Join(strings.Fields(all), " "), "no answer"); got != 1 {
		t.Errorf("got it %d times in %s, want once", got, all)
	}
	if got, want := m.fact("Paused"), "nothing deploys by itself until `agent resume shop`"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNotesAndTheHostOfCommandsAreShown(t *testing.T) {
	m := story{dep: agent.Deployment{
		State: agent.StateHeld, Reason: agent.ReasonCrash, Message: "it exited", Note: "as anna asked",
		Decision: &agent.Decision{Verb: agent.VerbKeep, Note: "it has to do"},
	}}.tells(t)
	for _, want := range []string{"“as anna asked”", "“it has to do”"} {
		if !strings.Contains(m.Why, want) {
			t.Errorf("got %q, want %s", m.Why, want)
		}
	}
	if want := []string{"# on vm-1:", "agent show 1", "agent keep 1", "agent rollback shop"}; !slices.Equal(m.Commands, want) {
		t.Errorf("got commands %q, want %q", m.Commands, want)
	}
}
