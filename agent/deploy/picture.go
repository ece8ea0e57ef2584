package deploy

import (
	"context"
	"slices"
	"time"

	"rollback-agent/agent"
)

// picture is the last that was seen of a service's instances, whatever they run.
type picture struct {
	known     bool
	instances []agent.Instance
	lost      string // why nothing is known
	version   int    // grows with every fact
	cleared   int    // version at which what looks foreign was looked up and was not
}

func (p *picture) fold(o agent.Observation) {
	p.version++
	switch o.Kind {
	case agent.ObservedLost:
		p.known, p.lost = false, o.Detail
	case agent.ObservedSnapshot:
		p.known, p.lost, p.instances = true, "", slices.Clone(o.Instances)
	default:
		p.update(o.Instance)
	}
}

func (p *picture) update(i agent.Instance) {
	at := slices.IndexFunc(p.instances, func(known agent.Instance) bool { return known.ID == i.ID })
	if at < 0 {
		p.instances = append(p.instances, i)
		return
	}
	p.instances[at] = i
}

// snapshot tells everything at once, to a judge who comes late.
func (p *picture) snapshot() agent.Observation {
	if !p.known {
		return agent.Observation{At: time.Now(), Kind: agent.ObservedLost, Detail: p.lost}
	}
	return agent.Observation{At: time.Now(), Kind: agent.ObservedSnapshot, Instances: slices.Clone(p.instances)}
}

// suspicious tells whether an instance runs something else than rel. The picture
// may lag behind an Apply, so this only calls for a look.
func (p *picture) suspicious(rel *agent.Release) bool {
	if !p.known || p.cleared == p.version {
		return false
	}
	return slices.ContainsFunc(p.instances, func(i agent.Instance) bool {
		return !slices.ContainsFunc(rel.Artifacts, i.Runs)
	})
}

// foreign tells whether what serves, compared with the judged release and the
// other one, is somebody else's doing. Only a fresh look at the world says so.
func (c *cycle) foreign(ctx context.Context, rel, other *agent.Release, signs ...agent.Serving) bool {
	if !c.picture.suspicious(rel) {
		return false
	}
	version := c.picture.version
	running, err := c.lookAtRunning(ctx)
	if err != nil {
		return false // what cannot be seen is not judged
	}
	found := slices.Contains(signs, running.Serves(rel, other))
	if !found {
		c.picture.cleared = version
	}
	return found
}

// lookAtRunning asks the world what runs now. It never asks for long.
func (w *Worker) lookAtRunning(ctx context.Context) (agent.Running, error) {
	var running agent.Running
	err := w.during(context.WithoutCancel(ctx), func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errLook)
		defer cancel()
		running, err = w.Target.Running(ctx, w.svc)
		return err
	}, nil)
	return running, err
}
