package compose_test

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/target"
	"rollback-agent/agent/target/targettest"
	"rollback-agent/agent/testbed"
)

func TestContract(t *testing.T) {
	targettest.Run(t, func(tb testing.TB) targettest.Harness { return &contract{host: newHost(tb.(*testing.T))} })
}

// contract drives the compose target for the contract suite.
type contract struct{ *host }

const contractFile = `
services:
  web:
    image: REGISTRY/app:stable
    stop_grace_period: 2s
    environment: {APP_SETTING: "CONFIG"}
`

func (c *contract) Target() target.Target   { return c.target }
func (c *contract) Service() agent.Service  { return c.svc }
func (c *contract) Patience() time.Duration { return 20 * time.Second }

func (c *contract) Want(_ testing.TB, v targettest.Version) {
	mode, options := testbed.Good, []testbed.Option{testbed.Env("APP_CONTENT", v.Content)}
	switch v.Fate {
	case targettest.Crashing:
		mode = testbed.Crash
	case targettest.Sick:
		mode = testbed.Sick
		options = append(options, testbed.Check(500*time.Millisecond, 0, 1))
	}
	c.Push("app", "stable", mode, options...)
	c.compose(strings.ReplaceAll(contractFile, "CONFIG", v.Config))
}

func (c *contract) Break(testing.TB) { c.compose("services: {web: {image: [") }

func (c *contract) Resolve(_ testing.TB, a agent.Artifact) string { return c.resolve(a) }

func (c *contract) Withdraw(testing.TB) { c.Registry.Intercept(refuse) }

func (c *contract) Forget(_ testing.TB, a agent.Artifact) { c.removeImage(a.Local) }

func (c *contract) Here(t testing.TB, a agent.Artifact) bool {
	_, err := c.docker.ImageInspect(t.Context(), a.Local)
	return err == nil
}

func (c *contract) Stop(t testing.TB) {
	for _, id := range c.ids() {
		if _, err := c.docker.ContainerStop(t.Context(), id, client.ContainerStopOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
