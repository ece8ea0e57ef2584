package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// Amiss says in one line what keeps the release from being healthy, or "".
func (e *Evidence) Amiss() string {
	if !e.Known {
		return "its instances cannot be seen"
	}
	for _, a := range e.Release.Artifacts {
		if text := e.artifactAmiss(a); text != "" {
			return text
		}
	}
	for _, gate := range slices.Sorted(maps.Keys(e.Probes)) {
		switch p := e.Probes[gate]; {
		case p.Last.Gate == "":
			return gate + " probe has not answered yet"
		case !p.Last.Passed:
			return fmt.Sprintf("%s probe: %s", gate, p.Last.Detail)
		}
	}
	return ""
}

func (e *Evidence) artifactAmiss(a agent.Artifact) string {
	if a.OneShot {
		return e.oneShotAmiss(a)
	}
	running := 0
	for _, i := range e.sorted() {
		if !i.Runs(a) {
			continue
		}
		switch {
		case i.Phase != agent.PhaseRunning:
			return fmt.Sprintf("%s is %s%s", i.Name, i.Phase, exitText(i))
		case i.Health == agent.HealthStarting:
			return i.Name + " is still starting, says its HEALTHCHECK"
		case i.Health == agent.HealthUnhealthy:
			return strings.TrimSuffix(fmt.Sprintf("%s is unhealthy, says its HEALTHCHECK: %s", i.Name, i.HealthOutput), ": ")
		}
		running++
	}
	if running < a.Count {
		return fmt.Sprintf("%s runs %d of %d instances", a.Name, running, a.Count)
	}
	return ""
}

// oneShotAmiss: a one-shot is done when it has exited 0. One that is gone was
// done, and removed.
func (e *Evidence) oneShotAmiss(a agent.Artifact) string {
	for _, i := range e.sorted() {
		switch {
		case !i.Runs(a) || i.Phase == agent.PhaseExited && i.ExitCode == 0:
		case i.Phase == agent.PhaseExited:
			return fmt.Sprintf("%s exited with code %d", i.Name, i.ExitCode)
		default:
			return fmt.Sprintf("%s is %s and has not finished yet", i.Name, i.Phase)
		}
	}
	return ""
}

// Checked tells whether anything but running instances proves health.
func (e *Evidence) Checked() bool {
	if len(e.Probes) > 0 {
		return true
	}
	for _, i := range e.Instances {
		if i.Health != agent.HealthNone && i.Health != "" {
			return true
		}
	}
	return false
}

// Budget is the longest time that the instances' own checks may need to prove
// health.
func (e *Evidence) Budget() time.Duration {
	var longest time.Duration
	for _, i := range e.Instances {
		longest = max(longest, i.HealthBudget)
	}
	return longest
}

// Down names what does not run because somebody asked for it, or "".
func (e *Evidence) Down() string {
	if !e.Known || e.Release == nil {
		return ""
	}
	for _, a := range e.Release.Artifacts {
		running, asked := 0, slices.Contains(slices.Collect(maps.Values(e.Stopped)), a.Name)
		for _, i := range e.Instances {
			if i.Runs(a) && i.Phase != agent.PhaseExited && i.Phase != agent.PhaseCreated {
				running++
			}
		}
		if asked && !a.OneShot && running < a.Count {
			return a.Name
		}
	}
	return ""
}

func (e *Evidence) sorted() []agent.Instance {
	return slices.SortedFunc(maps.Values(e.Instances), func(a, b agent.Instance) int {
		return strings.Compare(a.Name+a.ID, b.Name+b.ID)
	})
}

func exitText(i agent.Instance) string {
	if i.Phase != agent.PhaseExited && i.Phase != agent.PhaseRestarting {
		return ""
	}
	if i.OOMKilled {
		return ", killed for lack of memory"
	}
	return fmt.Sprintf(", exit code %d", i.ExitCode)
}
