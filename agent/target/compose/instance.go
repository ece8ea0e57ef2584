package compose

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// The engine's own defaults of a health check.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 30 * time.Second
	defaultRetries  = 3
)

// instance inspects one container. It is nil when the container is gone.
func (e *engine) instance(ctx context.Context, containerID string, images *imageCache) (*agent.Instance, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	result, err := e.client.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.wrap(ctx, err, "inspecting container %.12s", containerID)
	}
	c := result.Container
	i := describeContainer(c)
	i.Digests, err = images.digests(ctx, c.Image)
	if c.ImageManifestDescriptor != nil {
		i.Digests = append(i.Digests, c.ImageManifestDescriptor.Digest.String())
	}
	return &i, err
}

func describeContainer(c container.InspectResponse) agent.Instance {
	i := agent.Instance{
		ID:       c.ID,
		Name:     strings.TrimPrefix(c.Name, "/"),
		Artifact: c.Config.Labels[api.ServiceLabel],
		Ref:      c.Config.Image,
		Local:    c.Image,
		Config:   cmp.Or(c.Config.Labels[configLabel], c.Config.Labels[api.ConfigHashLabel]),
		Restarts: c.RestartCount,
		Health:   agent.HealthNone,
	}
	i.CreatedAt = parseTime(c.Created)
	if c.State != nil {
		i.Phase = phaseOf(c.State)
		i.ExitCode = c.State.ExitCode
		i.OOMKilled = c.State.OOMKilled
		i.StartedAt, i.FinishedAt = parseTime(c.State.StartedAt), parseTime(c.State.FinishedAt)
		i.Health, i.HealthOutput = healthOf(c.State.Health)
	}
	if i.Health != agent.HealthNone {
		i.HealthBudget = budgetOf(c.Config.Healthcheck)
	}
	if c.HostConfig != nil {
		i.WillRestart = willRestart(c.HostConfig.RestartPolicy, i)
	}
	return i
}

func phaseOf(s *container.State) agent.Phase {
	switch s.Status {
	case container.StateRunning:
		return agent.PhaseRunning
	case container.StateRestarting:
		return agent.PhaseRestarting
	case container.StatePaused:
		return agent.PhasePaused
	case container.StateCreated:
		return agent.PhaseCreated
	}
	return agent.PhaseExited
}

func healthOf(h *container.Health) (agent.HealthState, string) {
	if h == nil {
		return agent.HealthNone, ""
	}
	output := ""
	if len(h.Log) > 0 {
		output = clip(strings.TrimSpace(h.Log[len(h.Log)-1].Output), 1024)
	}
	switch h.Status {
	case container.Healthy:
		return agent.HealthHealthy, output
	case container.Unhealthy:
		return agent.HealthUnhealthy, output
	case container.Starting:
		return agent.HealthStarting, output
	}
	return agent.HealthNone, output
}

// budgetOf is the longest time the check may need to prove health.
func budgetOf(h *container.HealthConfig) time.Duration {
	if h == nil {
		return 0
	}
	interval, timeout := cmp.Or(h.Interval, defaultInterval), cmp.Or(h.Timeout, defaultTimeout)
	return h.StartPeriod + time.Duration(cmp.Or(h.Retries, defaultRetries))*(interval+timeout)
}

// willRestart tells whether a restart policy stands behind the instance as it is
// now. The engine decides in the moment of the exit: what it leaves exited, after
// exit 0 under `on-failure` or after a stop, it does not start again.
func willRestart(p container.RestartPolicy, i agent.Instance) bool {
	if i.Phase == agent.PhaseExited {
		return false
	}
	switch p.Name {
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		return true
	case container.RestartPolicyOnFailure:
		return p.MaximumRetryCount == 0 || i.Restarts < p.MaximumRetryCount
	}
	return false
}

// parseTime reads the engine's times; its zero is the year 1.
func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() <= 1 {
		return time.Time{}
	}
	return at
}

// clip cuts a text to at most n bytes, at the end of a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
