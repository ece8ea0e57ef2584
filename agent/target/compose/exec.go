package compose

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// maxOutput is how much of a command's output is kept, in bytes.
const maxOutput = 4 << 10

// Exec runs argv inside a running container of a compose service. When ctx ends
// first, the command goes on inside the container: Docker cannot take it back.
func (t *Target) Exec(ctx context.Context, svc agent.Service, artifact string, argv []string) (string, int, error) {
	e, id, err := t.whoIs(ctx, svc)
	if err != nil {
		return "", 0, err
	}
	containerID, err := e.runningContainer(ctx, id, artifact)
	if err != nil {
		return "", 0, fmt.Errorf("running a command for service %q: %w", svc.Name, err)
	}
	created, err := e.client.ExecCreate(ctx, containerID, client.ExecCreateOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", 0, e.wrap(ctx, err, "running a command in %s of service %q", artifact, svc.Name)
	}
	output, err := e.attach(ctx, created.ID)
	if err != nil {
		return output, 0, e.wrap(ctx, err, "running a command in %s of service %q", artifact, svc.Name)
	}
	ended, err := e.client.ExecInspect(ctx, created.ID, client.ExecInspectOptions{})
	if err != nil {
		return output, 0, e.wrap(ctx, err, "asking how the command in %s of service %q ended", artifact, svc.Name)
	}
	return output, ended.ExitCode, nil
}

func (e *engine) runningContainer(ctx context.Context, id identity, artifact string) (string, error) {
	if id.project == "" {
		return "", fmt.Errorf("no container of %q exists", artifact)
	}
	running, err := e.running(ctx, id)
	if err != nil {
		return "", err
	}
	for _, i := range running.Instances {
		if i.Artifact == artifact && i.Phase == agent.PhaseRunning {
			return i.ID, nil
		}
	}
	return "", fmt.Errorf("no container of %q is running", artifact)
}

// attach starts the command and reads what it prints until it ends.
func (e *engine) attach(ctx context.Context, execID string) (string, error) {
	attached, err := e.client.ExecAttach(ctx, execID, client.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, attached.Close) // a hijacked connection knows no context
	defer func() {
		if stop() {
			attached.Close()
		}
	}()
	output, err := demux(attached.Reader, false, maxOutput)
	if cause := context.Cause(ctx); cause != nil {
		return output, cause
	}
	return output, err
}
