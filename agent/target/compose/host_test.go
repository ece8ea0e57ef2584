package compose_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/target/compose"
	"rollback-agent/agent/testbed"
)

// host is one compose project on the real engine, with a registry of its own.
type host struct {
	*testing.T
	*testbed.Testbed
	target  *compose.Target
	docker  *client.Client
	project string
	dir     string
	svc     agent.Service
	last    int64 // release
}

// newHost makes an empty project directory; the service is every compose service
// of its compose.yaml.
func newHost(t *testing.T, opts ...testbed.RegistryOptions) *host {
	t.Helper()
	t.Parallel() // the engine takes its time, and has more than one core
	return newSerialHost(t, opts...)
}

func newSerialHost(t *testing.T, opts ...testbed.RegistryOptions) *host {
	t.Helper()
	tb := testbed.New(t, opts...)
	project := tb.Project(t)
	dir := t.TempDir()
	h := &host{T: t, Testbed: tb, docker: tb.Docker(t), project: project, dir: dir, target: compose.New(compose.Options{DockerConfig: t.TempDir()})}
	t.Cleanup(h.removeVolumes)
	t.Cleanup(func() { h.target.Close() })
	h.svc = agent.Service{Name: project, Target: "compose", Compose: agent.Compose{
		Files: []string{filepath.Join(dir, "compose.yaml")}, Project: project, DockerHost: os.Getenv("DOCKER_HOST"),
	}}
	return h
}

// removeVolumes removes the project's containers with every volume that they
// mount: an anonymous one that was inherited has no owner any more, and stays.
func (h *host) removeVolumes() {
	ctx := context.WithoutCancel(h.Context())
	list, err := h.docker.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "com.docker.compose.project="+h.project),
	})
	if err != nil {
		h.Errorf("listing what the test leaves: %v", err)
	}
	for _, c := range list.Items {
		_, err := h.docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		for _, m := range c.Mounts {
			if m.Type == "volume" {
				_, volumeErr := h.docker.VolumeRemove(ctx, m.Name, client.VolumeRemoveOptions{Force: true})
				err = errors.Join(err, volumeErr)
			}
		}
		if err != nil {
			h.Logf("cleaning up after the test: %v", err)
		}
	}
}

// write puts a file into the project directory. REGISTRY stands for the
// registry's address.
func (h *host) write(name, content string) {
	h.Helper()
	content = strings.ReplaceAll(content, "REGISTRY", h.Registry.Host)
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(content), 0o600); err != nil {
		h.Fatal(err)
	}
}

// compose writes the compose file.
func (h *host) compose(content string) {
	h.Helper()
	h.write("compose.yaml", content)
}

// desired loads what the files ask for, and resolves every reference as the core
// does.
func (h *host) desired() agent.Wanted {
	h.Helper()
	wanted, err := h.target.Desired(h.Context(), h.svc)
	if err != nil {
		h.Fatalf("Desired: %v", err)
	}
	for i, a := range wanted.Artifacts {
		if a.Digest == "" {
			wanted.Artifacts[i].Digest = h.resolve(a)
		}
	}
	return wanted
}

// resolve asks the registry, and this host where there is none.
func (h *host) resolve(a agent.Artifact) string {
	h.Helper()
	if digest, err := crane.Digest(a.Ref); err == nil {
		return digest
	}
	digest, ok, err := h.target.Local(h.Context(), h.svc, a)
	if err != nil || !ok {
		h.Fatalf("resolving %s: nowhere to be found (%v)", a.Ref, err)
	}
	return digest
}

// release numbers what is wanted.
func (h *host) release(w agent.Wanted) agent.Release {
	h.last++
	return agent.Release{
		Service: h.svc.Name, Number: h.last, Artifacts: w.Artifacts, ConfigHash: w.ConfigHash,
		Fingerprint: w.Fingerprint(), Snapshot: w.Snapshot,
	}
}

// restoring numbers a release that makes another one serve again.
func (h *host) restoring(old agent.Release) agent.Release {
	h.last++
	old.Restores, old.Number = old.Number, h.last
	old.Artifacts = slices.Clone(old.Artifacts)
	return old
}

func (h *host) fetch(rel agent.Release) agent.Release {
	h.Helper()
	rel, err := h.target.Fetch(h.Context(), h.svc, rel, nil)
	if err != nil {
		h.Fatalf("Fetch: %v (hint: %s)", err, agent.Hint(err))
	}
	return rel
}

func (h *host) apply(rel agent.Release) {
	h.Helper()
	if err := h.target.Apply(h.Context(), h.svc, rel, 100); err != nil {
		h.Fatalf("Apply: %v (hint: %s)", err, agent.Hint(err))
	}
}

// deploy makes what the files want serve.
func (h *host) deploy() agent.Release {
	h.Helper()
	rel := h.fetch(h.release(h.desired()))
	h.apply(rel)
	return rel
}

func (h *host) running() agent.Running {
	h.Helper()
	running, err := h.target.Running(h.Context(), h.svc)
	if err != nil {
		h.Fatalf("Running: %v", err)
	}
	return running
}

// instance returns the one instance of a compose service.
func (h *host) instance(artifact string) agent.Instance {
	h.Helper()
	var found []agent.Instance
	for _, i := range h.running().Instances {
		if i.Artifact == artifact {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		h.Fatalf("got %d instances of %s, want 1: %+v", len(found), artifact, found)
	}
	return found[0]
}

// ids returns the container IDs of the service, sorted.
func (h *host) ids() []string {
	h.Helper()
	var ids []string
	for _, i := range h.running().Instances {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return ids
}

func (h *host) serves(want agent.Serving, to, from *agent.Release) {
	h.Helper()
	running := h.running()
	if got := running.Serves(to, from); got != want {
		h.Fatalf("got serving %q, want %q: %+v", got, want, running)
	}
}

// watched is an Observe call in the background.
type watched struct {
	mu   sync.Mutex
	seen []agent.Observation
}

func (h *host) observe() *watched {
	h.Helper()
	w := &watched{}
	ctx, cancel := context.WithCancel(h.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.target.Observe(ctx, h.svc, w.add); err != nil {
			h.Errorf("Observe: %v", err)
		}
	})
	h.Cleanup(func() { cancel(); wg.Wait() })
	w.await(h, "a snapshot", func(o agent.Observation) bool { return o.Kind == agent.ObservedSnapshot })
	return w
}

func (w *watched) add(o agent.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, o)
}

func (w *watched) all() []agent.Observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// await returns the first observation that matches.
func (w *watched) await(t testing.TB, what string, match func(agent.Observation) bool) agent.Observation {
	t.Helper()
	var found agent.Observation
	testbed.Eventually(t, 30*time.Second, func() error {
		for _, o := range w.all() {
			if match(o) {
				found = o
				return nil
			}
		}
		return fmt.Errorf("%s was not observed: %s", what, w)
	})
	return found
}

func (w *watched) String() string {
	var lines []string
	for _, o := range w.all() {
		lines = append(lines, fmt.Sprintf("%s %s %s %q", o.Kind, o.Instance.Name, o.Instance.Phase, o.Detail))
	}
	return strings.Join(lines, "\n")
}

// refuse is a registry that is down.
func refuse(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
}

func (h *host) tag(imageID, name string) {
	h.Helper()
	if _, err := h.docker.ImageTag(h.Context(), client.ImageTagOptions{Source: imageID, Target: name}); err != nil {
		h.Fatal(err)
	}
}

// removeImage does what `image prune -a` does to an image: name and all.
func (h *host) removeImage(imageID string) {
	h.Helper()
	if _, err := h.docker.ImageRemove(h.Context(), imageID, client.ImageRemoveOptions{Force: true, PruneChildren: true}); err != nil {
		h.Fatal(err)
	}
}

func cancelled(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
