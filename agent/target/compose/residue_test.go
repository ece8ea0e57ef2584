package compose_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/testbed"
)

func TestField14ResidueOfAnInterruptedRecreate(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose("services: {web: {image: REGISTRY/app:stable}}")
	first := h.deploy()
	web := h.inspect("web")
	_, err := h.docker.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:   web.ID[:12] + "_" + strings.TrimPrefix(web.Name, "/"),
		Config: &container.Config{Image: web.Config.Image, Labels: web.Config.Labels},
	})
	if err != nil {
		t.Fatal(err)
	}
	running := h.running()
	if len(running.Residue) != 1 || len(running.Instances) != 1 {
		t.Errorf("got %+v, want one instance and one residue", running)
	}
	h.apply(first)
	h.cleanServing(first)

	// The old one is gone, the replacement still has its temporary name.
	web = h.inspect("web")
	temporary := strings.Repeat("a", 12) + "_" + strings.TrimPrefix(web.Name, "/")
	if _, err := h.docker.ContainerStop(t.Context(), web.ID, client.ContainerStopOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.docker.ContainerRename(t.Context(), web.ID, client.ContainerRenameOptions{NewName: temporary}); err != nil {
		t.Fatal(err)
	}
	h.apply(first)
	h.cleanServing(first)
}

// cleanServing checks that the release serves, under proper names, and nothing
// is left lying about.
func (h *host) cleanServing(rel agent.Release) {
	h.Helper()
	h.serves(agent.ServingNew, &rel, nil)
	running := h.running()
	if len(running.Residue) > 0 {
		h.Errorf("got residue %v, want none", running.Residue)
	}
	for _, i := range running.Instances {
		if !strings.HasPrefix(i.Name, h.project+"-") {
			h.Errorf("got a container named %s", i.Name)
		}
	}
}

func TestField15NothingOfTheModelIsLost(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.compose(`
services:
  web:
    image: REGISTRY/app:stable
    hostname: earth
    entrypoint: [/app]
    command: []
    environment: {PATH: /opt/bin}
    cap_drop: [NET_RAW]
    read_only: true
    networks:
      front: {aliases: [www], ipv4_address: 10.213.7.9, mac_address: "02:42:ac:11:65:43"}
    labels: {price: "$$5"}
    ulimits: {nofile: 4096}
networks:
  front: {ipam: {config: [{subnet: 10.213.7.0/24}]}}
`)
	first := h.deploy()
	before := h.lasting()
	h.Push("app", "stable", testbed.Good, testbed.Env("APP_GENERATION", "two"))
	h.deploy()
	if after := h.lasting(); after != before {
		t.Errorf("after an update:\ngot  %s\nwant %s", after, before)
	}
	h.apply(h.fetch(h.restoring(first)))
	if after := h.lasting(); after != before {
		t.Errorf("after a rollback:\ngot  %s\nwant %s", after, before)
	}
}

// lasting is what must not change when web is recreated.
func (h *host) lasting() string {
	h.Helper()
	c := h.inspect("web")
	endpoint := c.NetworkSettings.Networks[h.project+"_front"]
	aliases := slices.DeleteFunc(slices.Clone(endpoint.Aliases), func(a string) bool { return strings.HasPrefix(c.ID, a) })
	slices.Sort(aliases)
	env := slices.DeleteFunc(slices.Clone(c.Config.Env), func(e string) bool { return strings.HasPrefix(e, "APP_") })
	labels := map[string]string{"price": c.Config.Labels["price"], "hash": c.Config.Labels["com.docker.compose.config-hash"]}
	data, err := json.Marshal([]any{
		c.Config.Hostname, c.Config.Entrypoint, c.Config.Cmd, env, labels, c.HostConfig.CapDrop, c.HostConfig.ReadonlyRootfs,
		c.HostConfig.Ulimits, endpoint.IPAddress, endpoint.MacAddress, aliases,
	})
	if err != nil {
		h.Fatal(err)
	}
	return string(data)
}

func TestField16DigestsAreComparedByMembership(t *testing.T) {
	h := newHost(t)
	ref, index := h.Push("app", "multi", testbed.Good, testbed.Platforms("linux/amd64", "linux/arm64"))
	h.compose("services: {web: {image: REGISTRY/app:multi}}")
	rel := h.deploy()
	if rel.Artifacts[0].Digest != index {
		t.Fatalf("got digest %s, want the index %s", rel.Artifacts[0].Digest, index)
	}
	// A second repository for the same image must not hide the first.
	h.tag(rel.Artifacts[0].Local, "127.0.0.1:1/aaa/first:1")
	web := h.instance("web")
	if !slices.Contains(web.Digests, index) || !slices.Contains(web.Digests, web.Local) {
		t.Errorf("got digests %v, want the index %s and the ID %s", web.Digests, index, web.Local)
	}
	digest, ok, err := h.target.Local(t.Context(), h.svc, agent.Artifact{Name: "web", Ref: ref})
	if err != nil || !ok || digest != index {
		t.Errorf("Local: got %s, %v, %v, want %s", digest, ok, err, index)
	}
	h.Registry.Forget()
	h.fetch(h.release(h.desired()))
	if got := h.Registry.Count("GET", "/blobs/"); got != 0 {
		t.Errorf("got %d blobs pulled again, want none", got)
	}
}

func TestField27ErrorOfUpIsReported(t *testing.T) {
	h := newHost(t)
	h.Push("app", "stable", testbed.Good)
	h.Push("app", "job", testbed.Job)
	h.compose(`
services:
  web: {image: REGISTRY/app:stable, depends_on: {migrate: {condition: service_completed_successfully}}}
  migrate: {image: REGISTRY/app:job, environment: {APP_EXIT_CODE: "3"}}
`)
	rel := h.fetch(h.release(h.desired()))
	err := h.target.Apply(t.Context(), h.svc, rel, 100)
	if err == nil || !strings.Contains(err.Error(), "migrate") {
		t.Errorf("got %v, want an error that names migrate", err)
	}
}
