package testbed_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"rollback-agent/agent/testbed"
)

func TestAppServesWhatItsImageSays(t *testing.T) {
	tb := testbed.New(t)
	ref, digest := tb.Push("app", "v1", testbed.Good, testbed.Env("APP_GREETING", "hello"),
		testbed.Check(100*time.Millisecond, 0, 3))
	docker := tb.Docker(t)
	pull(t, docker, ref)
	if got := inspectDigest(t, docker, ref); !strings.HasSuffix(got, "@"+digest) {
		t.Errorf("repo digest: got %s, want …@%s", got, digest)
	}
	id, url := start(t, tb, docker, ref)
	testbed.Eventually(t, 10*time.Second, func() error {
		answer, err := ask(url)
		if err == nil && (answer.Version != "v1" || answer.Env["APP_GREETING"] != "hello") {
			err = fmt.Errorf("got %+v, want v1 and hello", answer)
		}
		return err
	})
	testbed.Eventually(t, 10*time.Second, func() error { return wantHealth(t, docker, id, "healthy") })
	stopped := time.Now()
	if _, err := docker.ContainerStop(t.Context(), id, client.ContainerStopOptions{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(stopped); took > 5*time.Second {
		t.Errorf("stopping: got %s, want no wait for SIGKILL", took)
	}
}

func TestAppCrashesOrTurnsSick(t *testing.T) {
	tb := testbed.New(t)
	docker := tb.Docker(t)
	sick, _ := tb.Push("app", "sick", testbed.Sick, testbed.Check(100*time.Millisecond, 0, 1))
	crash, _ := tb.Push("app", "crash", testbed.Crash, testbed.Env("APP_EXIT_CODE", "42"))
	pull(t, docker, sick)
	pull(t, docker, crash)
	sickID, _ := start(t, tb, docker, sick)
	crashID, _ := start(t, tb, docker, crash)
	testbed.Eventually(t, 10*time.Second, func() error { return wantHealth(t, docker, sickID, "unhealthy") })
	testbed.Eventually(t, 10*time.Second, func() error {
		state := inspect(t, docker, crashID)
		if state.Status != "exited" || state.ExitCode != 42 {
			return fmt.Errorf("got %s with exit code %d, want exited with 42", state.Status, state.ExitCode)
		}
		return nil
	})
}

func TestOOMIsKilledByTheKernel(t *testing.T) {
	tb := testbed.New(t)
	docker := tb.Docker(t)
	ref, _ := tb.Push("app", "oom", testbed.OOM)
	pull(t, docker, ref)
	id, _ := start(t, tb, docker, ref)
	testbed.Eventually(t, 20*time.Second, func() error {
		if state := inspect(t, docker, id); !state.OOMKilled {
			return fmt.Errorf("got state %s with exit code %d, want OOM-killed", state.Status, state.ExitCode)
		}
		return nil
	})
}

func TestPullOfBrokenImageFailsInItsStream(t *testing.T) {
	tb := testbed.New(t)
	docker := tb.Docker(t)
	ref, _ := tb.PushBroken("app", "v1")
	stream, err := docker.ImagePull(t.Context(), ref, client.ImagePullOptions{})
	if err != nil {
		t.Fatalf("starting the pull: got %v, want the error in the stream", err)
	}
	defer stream.Close()
	if err := stream.Wait(t.Context()); err == nil {
		t.Error("pulling a broken image: got no error")
	}
}

func TestIndexHoldsEveryPlatform(t *testing.T) {
	tb := testbed.New(t)
	docker := tb.Docker(t)
	ref, digest := tb.Push("app", "multi", testbed.Good, testbed.Platforms("linux/amd64", "linux/arm64"))
	pull(t, docker, ref)
	if got := inspectDigest(t, docker, ref); !strings.HasSuffix(got, "@"+digest) {
		t.Errorf("repo digest: got %s, want …@%s", got, digest)
	}
	other, _ := tb.Push("app", "other", testbed.Good, testbed.OtherArchitecture())
	pull(t, docker, other)
	image, err := docker.ImageInspect(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	info, err := docker.Info(t.Context(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if kernel := map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[info.Info.Architecture]; image.Architecture == kernel {
		t.Errorf("architecture: got %s, want another than the engine's", image.Architecture)
	}
}

func TestRegistryCountsAndAsksForPasswords(t *testing.T) {
	tb := testbed.New(t, testbed.RegistryOptions{User: "ada", Password: "engine", TLS: true})
	tb.Push("app", "v1", testbed.Good, testbed.OCI())
	tb.Registry.Forget()
	stranger := http.Client{Transport: tb.Registry.Transport()}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, "https://"+tb.Registry.Host+"/v2/app/manifests/v1", nil)
	resp, err := stranger.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status for a stranger: got %d, want 401", resp.StatusCode)
	}
	if got := tb.Registry.Count("HEAD", "/manifests/"); got != 1 {
		t.Errorf("HEAD requests: got %d, want 1", got)
	}
}

func TestProjectsCleanUpAfterThemselves(t *testing.T) {
	var docker *client.Client
	var tb *testbed.Testbed
	t.Run("inner", func(t *testing.T) {
		tb = testbed.New(t)
		docker = tb.Docker(t)
		ref, _ := tb.Push("app", "v1", testbed.Good)
		pull(t, docker, ref)
		start(t, tb, docker, ref)
		if got := leftovers(t, tb); got != 2 {
			t.Errorf("before the end: got %d containers and images, want 2", got)
		}
	})
	if got := leftovers(t, tb); got != 0 {
		t.Errorf("after the end: got %d containers and images, want 0", got)
	}
}

func leftovers(t *testing.T, tb *testbed.Testbed) int {
	t.Helper()
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	ours := make(client.Filters).Add("label", testbed.RunLabel+"="+tb.Run)
	containers, err := docker.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	images, err := docker.ImageList(t.Context(), client.ImageListOptions{Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	return len(containers.Items) + len(images.Items)
}

func pull(t *testing.T, docker *client.Client, ref string) {
	t.Helper()
	stream, err := docker.ImagePull(t.Context(), ref, client.ImagePullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, tb *testbed.Testbed, docker *client.Client, ref string) (id, url string) {
	t.Helper()
	port := testbed.Port(t)
	inside := network.MustParsePort("8080/tcp")
	name := fmt.Sprintf("%s-%d", tb.Run, port)
	own := client.NetworkCreateOptions{Labels: map[string]string{testbed.RunLabel: tb.Run}}
	if _, err := docker.NetworkCreate(t.Context(), name, own); err != nil {
		t.Fatal(err)
	}
	created, err := docker.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name:   name,
		Config: &container.Config{Image: ref},
		HostConfig: &container.HostConfig{
			NetworkMode: container.NetworkMode(name),
			Resources:   container.Resources{Memory: 64 << 20, MemorySwap: 64 << 20},
			PortBindings: network.PortMap{inside: {{
				HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: fmt.Sprint(port),
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := docker.ContainerStart(t.Context(), created.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	return created.ID, fmt.Sprintf("http://127.0.0.1:%d/", port)
}

type answer struct {
	Version string            `json:"version"`
	Env     map[string]string `json:"env"`
}

func ask(url string) (answer, error) {
	resp, err := http.Get(url)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	var a answer
	return a, json.NewDecoder(resp.Body).Decode(&a)
}

func inspect(t *testing.T, docker *client.Client, id string) *container.State {
	t.Helper()
	got, err := docker.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Container.State
}

func wantHealth(t *testing.T, docker *client.Client, id, want string) error {
	t.Helper()
	state := inspect(t, docker, id)
	if state.Health == nil || string(state.Health.Status) != want {
		return fmt.Errorf("health: got %+v, want %s", state.Health, want)
	}
	return nil
}

func inspectDigest(t *testing.T, docker *client.Client, ref string) string {
	t.Helper()
	image, err := docker.ImageInspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(image.RepoDigests, " ")
}
