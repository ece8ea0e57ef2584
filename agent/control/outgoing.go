package control

import (
	"maps"
	"net/url"
	"slices"
	"time"

	"rollback-agent/agent"
)

// Deployment is a deployment as it leaves the agent. Its keys are an API: they
// may be added to, never renamed. What is configured leaves without its secrets.
type Deployment struct {
	ID           int64                `json:"id"`
	Service      string               `json:"service"`
	Kind         agent.DeploymentKind `json:"kind"`
	State        agent.State          `json:"state"`
	Reason       agent.Reason         `json:"reason"`
	Message      string               `json:"message"`
	Hint         string               `json:"hint"`
	Serving      agent.Serving        `json:"serving"`
	From         int64                `json:"from_release"`
	To           int64                `json:"to_release"`
	Restored     int64                `json:"restored_release"`
	Artifacts    []agent.Artifact     `json:"artifacts"`
	Fingerprint  string               `json:"fingerprint"`
	Actor        string               `json:"actor"`
	Note         string               `json:"note,omitempty"`
	Irreversible bool                 `json:"irreversible,omitempty"`
	Decision     *agent.Decision      `json:"decision,omitempty"`
	StartedAt    time.Time            `json:"started_at"`
	EndedAt      *time.Time           `json:"ended_at"` // null while it is open
	DurationMS   int64                `json:"duration_ms"`
	Deadlines    agent.Deadlines      `json:"deadlines"`
	Counters     agent.Counters       `json:"counters"`
	Timeline     []agent.Step         `json:"timeline"`
	Verdicts     []agent.Verdict      `json:"verdicts"`
	Diagnoses    []agent.Diagnosis    `json:"diagnoses"`
	Config       Config               `json:"config"`
}

// Config is the part of a service's config that explains its deployments and
// holds no secret.
type Config struct {
	Target           string            `json:"target"`
	ComposeFiles     []string          `json:"compose_files"`
	Project          string            `json:"project,omitempty"`
	HealthURL        string            `json:"health_url,omitempty"`
	HealthHeaders    map[string]string `json:"health_headers,omitempty"` // the values are never told
	HealthTCP        string            `json:"health_tcp,omitempty"`
	HealthCommand    string            `json:"health_command,omitempty"` // its name, without arguments
	MinHealthyTime   string            `json:"min_healthy_time"`
	HealthDeadline   string            `json:"health_deadline"`
	ProgressDeadline string            `json:"progress_deadline"`
	WatchFor         string            `json:"watch_for"`
	MaxRestarts      int               `json:"max_restarts"`
	OnFailure        agent.Action      `json:"on_failure"`
	Mode             agent.Mode        `json:"mode"`
}

// Outgoing is the deployment as it may leave the agent; now ends the duration
// of an open one.
func Outgoing(d agent.Deployment, now time.Time) Deployment {
	out := Deployment{
		ID: d.ID, Service: d.Service, Kind: d.Kind, State: d.State, Reason: d.Reason, Message: d.Message, Hint: d.Hint,
		Serving: d.Serving, From: d.From, To: d.To, Restored: d.Restored, Artifacts: listOf(d.Artifacts),
		Fingerprint: d.Fingerprint, Actor: d.Actor, Note: d.Note, Irreversible: d.Irreversible, Decision: d.Decision, StartedAt: d.StartedAt, DurationMS: d.Duration(now).Milliseconds(),
		Deadlines: d.Deadlines, Counters: d.Counters, Timeline: listOf(d.Timeline), Verdicts: listOf(d.Verdicts),
		Diagnoses: listOf(d.Diagnoses), Config: outgoingConfig(d.Config),
	}
	if !d.EndedAt.IsZero() {
		out.EndedAt = &d.EndedAt
	}
	return out
}

func outgoingConfig(svc agent.Service) Config {
	out := Config{
		Target: svc.Target, ComposeFiles: listOf(svc.Compose.Files), Project: svc.Compose.Project,
		HealthURL: withoutPassword(svc.Health.URL), HealthTCP: svc.Health.TCP,
		MinHealthyTime: svc.MinHealthyTime.String(), HealthDeadline: svc.HealthDeadline.String(),
		ProgressDeadline: svc.ProgressDeadline.String(), WatchFor: svc.WatchFor.String(),
		MaxRestarts: svc.MaxRestarts, OnFailure: svc.OnFailure, Mode: svc.Mode,
	}
	if len(svc.Health.Command) > 0 {
		out.HealthCommand = svc.Health.Command[0]
	}
	for name, value := range svc.Health.Headers {
		if out.HealthHeaders == nil {
			out.HealthHeaders = map[string]string{}
		}
		out.HealthHeaders[name] = value.String()
	}
	return out
}

// withoutPassword hides a password and the values of a query, where tokens live.
func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return agent.Secret(text).String()
	}
	query := []byte(nil)
	for i, name := range slices.Sorted(maps.Keys(u.Query())) {
		if i > 0 {
			query = append(query, '&')
		}
		query = append(query, url.QueryEscape(name)+"="+agent.Secret("x").String()...)
	}
	u.RawQuery = string(query)
	return u.Redacted()
}

// listOf keeps an empty list from being null in JSON.
func listOf[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
