package compose_test

import (
	"testing"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

const webFile = `
services:
  web:
    image: REGISTRY/app:stable
    environment:
      GREETING: "costs $$5 and ${NOBODY:-more}"
`

func TestDeployAndRollBack(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose(webFile)
	first := h.deploy()
	h.serves(agent.ServingNew, &first, nil)

	h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	second := h.deploy()
	h.serves(agent.ServingNew, &second, &first)

	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.serves(agent.ServingOld, &second, &back)
	h.serves(agent.ServingNew, &back, &second)
}

func TestApplyTwiceLeavesContainersAlone(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose(webFile)
	rel := h.deploy()
	before := h.instance("web").ID
	h.apply(rel)
	if after := h.instance("web").ID; after != before {
		t.Errorf("got container %.12s, want %.12s left alone", after, before)
	}
}
