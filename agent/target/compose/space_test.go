package compose_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"rollback-agent/agent"
	"rollback-agent/agent/target/compose"
	"rollback-agent/agent/testbed"
)

// fullDisk is the end of a pull's stream, as Engine 20.10 wrote it on a disk of
// 60 MB.
const fullDisk = `{"status":"Extracting","progressDetail":{"current":47191084,"total":47191084},"id":"b0010f724abb"}
{"errorDetail":{"message":"failed to register layer: Error processing tar file(exit status 1): write /padding: no space left on device"},` +
	`"error":"failed to register layer: Error processing tar file(exit status 1): write /padding: no space left on device"}
`

const (
	mb = 1 << 20
	gb = 1 << 30
)

// asked counts the registry's requests of the agent itself, and of the engine.
func (h *host) asked() (agents, engines int) {
	for _, r := range h.Registry.Requests() {
		if strings.HasPrefix(r.UserAgent, "rollback-agent") {
			agents++
		} else if strings.Contains(r.UserAgent, "docker/") {
			engines++
		}
	}
	return agents, engines
}

// TestField19NothingIsPulledOntoAFullDisk uses the real engine and registry; only
// the size of the disk is made up.
func TestField19NothingIsPulledOntoAFullDisk(t *testing.T) {
	for name, options := range map[string][]testbed.Option{
		"image": {testbed.Padding(8 * mb)},
		"index": {testbed.Padding(8 * mb), testbed.Platforms("linux/arm64", "linux/amd64"), testbed.OCI()},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
			h.Push("app", "v", testbed.Good)
			first := h.deploy()
			h.Push("app", "v", testbed.Good, options...)
			second := h.release(h.desired())
			before := h.pulled()
			h.Registry.Forget()

			h.target.SetSpace(256*mb+8*mb, 100*gb) // the margin, and the download, but not the unpacked layer
			for range 2 {
				_, err := h.target.Fetch(t.Context(), h.svc, second, nil)
				if !errors.Is(err, agent.ErrNoSpace) || agent.IsPermanent(err) {
					t.Fatalf("got %v, want ErrNoSpace that may pass", err)
				}
				for _, want := range []string{"276 MB are free", "about 297 MB are needed", "docker system df", h.root()} {
					if !strings.Contains(agent.Hint(err), want) {
						t.Errorf("got hint %q, want %q in it", agent.Hint(err), want)
					}
				}
			}
			agents, engines := h.asked()
			if agents == 0 || agents > 6 || engines > 0 {
				t.Errorf("got %d requests of the agent and %d of the engine, want the question once, and no download: %v", agents, engines, h.Registry.Requests())
			}
			if after := h.pulled(); !slices.Equal(before, after) {
				t.Errorf("got images %v, want %v", after, before)
			}
			h.serves(agent.ServingNew, &first, nil)

			h.target.SetSpace(256*mb+29*mb, 100*gb) // three and a half times eight, and a little
			h.apply(h.fetch(second))
		})
	}
}

// root is the engine's directory.
func (h *host) root() string {
	h.Helper()
	info, err := h.docker.Info(h.Context(), client.InfoOptions{})
	if err != nil {
		h.Fatal(err)
	}
	return info.Info.DockerRootDir
}

// TestField19RoomIsOnlyMeasuredWhereItMatters: the question is a pull in the eyes
// of a registry, and an estimate must stop nothing that works.
func TestField19RoomIsOnlyMeasuredWhereItMatters(t *testing.T) {
	for name, c := range map[string]struct {
		free, total int64
		prepare     func(h *host)
		asks        bool
	}{
		"roomy":                {free: 20 * gb, total: 100 * gb},
		"nine per cent":        {free: 9 * gb * 10, total: 1000 * gb, asks: true},
		"small":                {free: 9 * gb, total: 20 * gb, asks: true},
		"every layer is here":  {free: 1 * mb, total: 100 * gb, asks: true, prepare: func(h *host) { h.push("v", 0) }},
		"the registry is mute": {free: 1 * mb, total: 100 * gb, asks: true, prepare: func(h *host) { h.muteToAgent() }},
		"the engine is remote": {free: 0, total: 100 * gb, prepare: func(h *host) { h.svc.Compose.DockerHost = "tcp://" + h.engineByTCP() }},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
			h.Push("app", "v", testbed.Good)
			h.deploy()
			h.push("v", mb)
			if c.prepare != nil {
				c.prepare(h)
			}
			rel := h.release(h.desired())
			h.Registry.Forget()
			h.target.SetSpace(c.free, c.total)
			h.fetch(rel)
			if agents, _ := h.asked(); (agents > 0) != c.asks {
				t.Errorf("got %d requests of the agent, want some: %v", agents, c.asks)
			}
		})
	}
}

// push replaces what the tag names by another generation.
func (h *host) push(tag string, padding int) {
	h.Helper()
	h.Push("app", tag, testbed.Good, testbed.Env("APP_GENERATION", "next"), testbed.Padding(padding))
}

func (h *host) muteToAgent() {
	h.Registry.Intercept(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.UserAgent(), "rollback-agent") {
			refuse(w, r)
			return
		}
		h.Registry.Serve(w, r)
	})
}

// TestField19EstimateStopsNoRollback: what is to be restored is pulled as long as
// the engine can.
func TestField19EstimateStopsNoRollback(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	h.push("v", mb)
	first := h.deploy()
	h.Push("app", "v", testbed.Crash)
	second := h.deploy()
	h.removeImage(first.Artifacts[0].Local)
	h.target.SetSpace(0, 100*gb)
	back := h.fetch(h.restoring(first))
	h.apply(back)
	h.serves(agent.ServingNew, &back, &second)
}

// TestField19DiskThatRunsFullInMidPull: an estimate can be wrong.
func TestField19DiskThatRunsFullInMidPull(t *testing.T) {
	h := newHost(t)
	h.compose("services: {web: {image: 'REGISTRY/app:v'}}")
	h.Push("app", "v", testbed.Good)
	first := h.deploy()
	h.push("v", mb)
	h.svc.Compose.DockerHost = "unix://" + h.engineThatPulls(func(w http.ResponseWriter) { io.WriteString(w, fullDisk) })
	_, err := h.target.Fetch(t.Context(), h.svc, h.release(h.desired()), nil)
	if !errors.Is(err, agent.ErrNoSpace) || agent.IsPermanent(err) || errors.Is(err, agent.ErrSourceMissing) || agent.Hint(err) == "" {
		t.Errorf("got %v, hint %q, want ErrNoSpace with a hint", err, agent.Hint(err))
	}
	h.serves(agent.ServingNew, &first, nil)
}

// engineThatPulls leads to the engine, but answers pulls itself, with 200.
func (h *host) engineThatPulls(answer func(http.ResponseWriter)) (socket string) {
	h.Helper()
	socket = filepath.Join(h.TempDir(), "d.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		h.Fatal(err)
	}
	h.serve(listener, answer)
	return socket
}

// engineByTCP is the engine as on another host.
func (h *host) engineByTCP() (addr string) {
	h.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	h.serve(listener, nil)
	return listener.Addr().String()
}

func (h *host) serve(listener net.Listener, pull func(http.ResponseWriter)) {
	far := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if far == "" {
		far = "/var/run/docker.sock"
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", far)
	}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pull != nil && strings.HasSuffix(r.URL.Path, "/images/create") {
			pull(w)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	h.Cleanup(func() { h.target.Close(); server.Close() })
}

func TestSpaceOfARealDisk(t *testing.T) {
	free, total, err := compose.SpaceOf(t.TempDir())
	if err != nil || total <= 0 || free < 0 || free > total {
		t.Errorf("got %d of %d bytes free, %v", free, total, err)
	}
	if _, _, err := compose.SpaceOf("/nowhere"); err == nil {
		t.Error("got no error for a directory that is not there")
	}
}
