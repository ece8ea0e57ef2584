package daemon

import (
	"context"
	"fmt"
	"strings"

	"rollback-agent/agent"
	"rollback-agent/agent/gate"
)

// instances looks at what runs of each service.
func (p *probing) instances() []question {
	var questions []question
	for _, svc := range p.cfg.Services {
		questions = append(questions, question{"health", svc.Name, func(ctx context.Context) agent.Finding { return p.lookAtInstances(ctx, svc) }})
	}
	return questions
}

func (p *probing) lookAtInstances(ctx context.Context, svc agent.Service) agent.Finding {
	running, err := p.targets[svc.Target].Running(ctx, svc)
	if err != nil {
		return failed(err)
	}
	p.see(svc, running)
	up, checked, bad := 0, 0, []string(nil)
	for _, i := range running.Instances {
		if i.Phase == agent.PhaseRunning {
			up++
		}
		if i.Health != agent.HealthNone {
			checked++
		}
		if i.Health == agent.HealthUnhealthy || i.Phase == agent.PhaseRestarting {
			bad = append(bad, strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", i.Name, condition(i), strings.Join(strings.Fields(i.HealthOutput), " ")), ": "))
		}
	}
	switch {
	case len(bad) > 0:
		return failed(agent.WithHint(fmt.Errorf("%s", strings.Join(bad, "; ")), "docker logs tells more; what is sick already cannot prove that a new release is healthy"))
	case up == 0:
		return doubtful("", "nothing of it runs; its probes are not asked")
	case checked == 0 && len(svc.Health.Gates()) == 0:
		return doubtful("add health_url, or a HEALTHCHECK to the image: without either only an exit is noticed", "%s, and nothing proves that they work", count(up, "container runs", "containers run"))
	case checked > 0:
		return fine("%s, %d with a HEALTHCHECK", count(up, "container runs", "containers run"), checked)
	}
	return fine("%s", count(up, "container runs", "containers run"))
}

func condition(i agent.Instance) string {
	if i.Phase == agent.PhaseRestarting {
		return fmt.Sprintf("restarting, exit code %d", i.ExitCode)
	}
	return string(i.Health)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// gates asks the probes of every service that runs, once.
func (p *probing) gates() []question {
	var questions []question
	for _, svc := range p.cfg.Services {
		if !serves(p.running[svc.Name]) {
			continue
		}
		for _, probe := range gate.Probes(svc, p.targets[svc.Target]) {
			questions = append(questions, question{"health", svc.Name + " " + probe.Gate, func(ctx context.Context) agent.Finding { return askGate(ctx, svc, probe) }})
		}
	}
	return questions
}

func serves(running agent.Running) bool {
	for _, i := range running.Instances {
		if i.Phase == agent.PhaseRunning {
			return true
		}
	}
	return false
}

func askGate(ctx context.Context, svc agent.Service, probe gate.Probe) agent.Finding {
	about := map[string]string{"http": svc.Health.URL, "tcp": svc.Health.TCP, "command": strings.Join(svc.Health.Command, " ")}[probe.Gate]
	sample, ok := probe.Look(ctx)
	switch {
	case !ok:
		return failed(fmt.Errorf("%s: nobody could be asked: %s", about, sample.Detail))
	case !sample.Passed:
		return failed(agent.WithHint(fmt.Errorf("%s: %s", about, sample.Detail),
			"until this passes every deployment is rolled back: mend the service, or health_"+probeKey(probe.Gate)))
	}
	return agent.Finding{OK: true, Detail: about + ": " + sample.Detail}
}

func probeKey(gate string) string {
	if gate == "http" {
		return "url"
	}
	return gate
}
