package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/streams"
	"github.com/docker/compose/v5/pkg/api"
	composesdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
)

// How long one question to the engine may take. Streams, pulls and Up are bound
// by their caller's context alone.
const (
	askTime    = 20 * time.Second
	changeTime = 60 * time.Second
)

var errEngineSilent = errors.New("the engine did not answer in time")

// engine is one Docker engine.
type engine struct {
	host   string
	client *client.Client
	hub    hub

	mu       sync.Mutex
	platform string             // "linux/amd64", "" until asked
	layers   map[string][]layer // of images in registries, by reference and platform
}

// engine returns the engine of a service, the same for all services on it.
func (t *Target) engine(svc agent.Service) (*engine, error) {
	host := svc.Compose.DockerHost
	if host == "" {
		host = client.DefaultDockerHost
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.engines[host]; e != nil {
		return e, nil
	}
	c, err := client.New(client.WithHost(host), client.WithUserAgent("rollback-agent"))
	if err != nil {
		return nil, agent.Permanent(fmt.Errorf("connecting to the engine at %s: %w", host, err))
	}
	e := &engine{host: host, client: c}
	e.hub.engine = e
	t.engines[host] = e
	return e, nil
}

// ask bounds one question to the engine.
func ask(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, askTime, errEngineSilent)
}

// change bounds one order to the engine that may take longer.
func change(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, changeTime, errEngineSilent)
}

// wrap says what was asked, and whether the engine could be asked at all.
func (e *engine) wrap(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if client.IsErrConnectionFailed(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(context.Cause(ctx), errEngineSilent) {
		return agent.WithHint(
			fmt.Errorf("%s: engine at %s: %w: %w", what, e.host, agent.ErrUnreachable, err),
			"is Docker running? try `docker -H "+e.host+" info`")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// dockerConfig reads Docker's config anew: logins change while the agent runs.
func (t *Target) dockerConfig() (*configfile.ConfigFile, error) {
	dir := t.options.DockerConfig
	if strings.HasSuffix(dir, ".json") {
		dir = filepath.Dir(dir)
	}
	if dir == "" {
		dir = config.Dir()
	}
	file, err := config.Load(dir)
	if err != nil {
		return nil, agent.WithHint(fmt.Errorf("reading Docker's config in %s: %w", dir, err),
			"docker_config in [registry] names another one")
	}
	return file, nil
}

// sdk returns a Compose service that speaks to the engine, answers every prompt
// with no and prints nothing.
func (t *Target) sdk(e *engine) (api.Compose, error) {
	file, err := t.dockerConfig()
	if err != nil {
		return nil, err
	}
	cli := &sdkCli{client: e.client, config: file, sink: streams.NewOut(io.Discard), none: streams.NewIn(io.NopCloser(strings.NewReader("")))}
	return composesdk.NewComposeService(cli,
		composesdk.WithPrompt(func(string, bool) (bool, error) { return false, nil }),
		composesdk.WithContextInfo(sdkContext{}))
}

// sdkCli is the little of a Docker command line that Up asks for. Everything
// else is absent on purpose.
type sdkCli struct {
	command.Cli
	client client.APIClient
	config *configfile.ConfigFile
	sink   *streams.Out
	none   *streams.In
}

func (c *sdkCli) Client() client.APIClient           { return c.client }
func (c *sdkCli) ConfigFile() *configfile.ConfigFile { return c.config }
func (c *sdkCli) Out() *streams.Out                  { return c.sink }
func (c *sdkCli) Err() *streams.Out                  { return c.sink }
func (c *sdkCli) In() *streams.In                    { return c.none }
func (c *sdkCli) CurrentContext() string             { return command.DefaultContextName }

// sdkContext says that there is no Docker context but the engine itself.
type sdkContext struct{}

func (sdkContext) CurrentContext() string         { return command.DefaultContextName }
func (sdkContext) ServerOSType() string           { return "linux" }
func (sdkContext) BuildKitEnabled() (bool, error) { return false, nil }
