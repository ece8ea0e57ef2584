package compose

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"rollback-agent/agent"
)

const (
	logLines   = 50
	maxLogLine = 2 << 10
	maxLog     = 256 << 10
)

// Diagnose describes every container of the service, its last log lines
// included. A log that cannot be read costs its lines only.
func (t *Target) Diagnose(ctx context.Context, svc agent.Service) ([]agent.Diagnosis, error) {
	e, id, err := t.whoIs(ctx, svc)
	if err != nil || id.project == "" {
		return nil, err
	}
	running, err := e.running(ctx, id)
	if err != nil {
		return nil, err
	}
	var found []agent.Diagnosis
	for _, i := range running.Instances {
		d := agent.Diagnosis{
			Instance: i.Name, Artifact: i.Artifact, Phase: i.Phase, ExitCode: i.ExitCode,
			OOMKilled: i.OOMKilled, Restarts: i.Restarts, Health: i.Health, HealthOutput: i.HealthOutput,
		}
		if d.Log, err = e.tail(ctx, i.ID); err != nil {
			t.log.Warn("reading the log of a container", "service", svc.Name, "container", i.Name, "error", err)
		}
		found = append(found, d)
	}
	return found, nil
}

// tail returns the last lines of a container's log, oldest first.
func (e *engine) tail(ctx context.Context, containerID string) ([]string, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	inspected, err := e.client.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
	if err != nil {
		return nil, e.wrap(ctx, err, "inspecting container %.12s", containerID)
	}
	stream, err := e.client.ContainerLogs(ctx, containerID, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(logLines),
	})
	if err != nil {
		return nil, e.wrap(ctx, err, "reading the log of container %.12s", containerID)
	}
	defer stream.Close()
	text, err := demux(stream, inspected.Container.Config.Tty, maxLog)
	if err != nil {
		return nil, e.wrap(ctx, err, "reading the log of container %.12s", containerID)
	}
	return lastLines(text), nil
}

// demux reads a stream of output, of which Docker frames each piece unless there
// is a terminal. At most limit bytes are kept; the rest is read and dropped.
func demux(stream io.Reader, tty bool, limit int) (string, error) {
	kept := &limited{limit: limit}
	var err error
	if tty {
		_, err = io.Copy(kept, stream)
	} else {
		_, err = stdcopy.StdCopy(kept, kept, stream)
	}
	return kept.String(), err
}

// limited keeps the first bytes and pretends to have kept all.
type limited struct {
	bytes.Buffer
	limit int
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.limit - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func lastLines(text string) []string {
	text = strings.TrimRight(strings.ToValidUTF8(text, "�"), "\r\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-logLines):]
	for i, line := range lines {
		lines[i] = clip(strings.TrimRight(line, "\r"), maxLogLine)
	}
	return lines
}

// stopSignal returns the number of the signal that stops a container.
func (e *engine) stopSignal(ctx context.Context, containerID string) string {
	ctx, cancel := ask(ctx)
	defer cancel()
	inspected, err := e.client.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
	if err != nil || inspected.Container.Config == nil {
		return ""
	}
	name := strings.ToUpper(inspected.Container.Config.StopSignal)
	if _, err := strconv.Atoi(name); err == nil {
		return name
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if number := unix.SignalNum(name); number != 0 {
		return strconv.Itoa(int(number))
	}
	return strconv.Itoa(int(syscall.SIGTERM))
}
