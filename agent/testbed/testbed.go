// Package testbed brings real peers to tests and to the demo: a container
// registry in process, images made on the spot, and an app in them that can be
// healthy, sick or dead on demand. Nothing is pulled from the internet.
//
// Its one promise: what a test makes (images, containers, networks, volumes,
// registries) is gone when the test ends, and nothing else is touched. It never
// skips: where a peer cannot be had, the test fails and says what is missing.
//
// Only tests and the commands under scripts import it.
package testbed

import (
	"crypto/rand"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/client"
)

// RunLabel is on every image that a testbed pushes, and so on the containers
// made of it. Its value is the testbed's own.
const RunLabel = "rollback-agent.testbed"

// Testbed is the set of peers of one test.
type Testbed struct {
	Registry *Registry
	Run      string // value of RunLabel

	t      testing.TB
	opts   RegistryOptions
	docker func() *client.Client
}

// New starts a registry. Without options everybody may read and write, over
// plain HTTP.
func New(t testing.TB, opts ...RegistryOptions) *Testbed {
	t.Helper()
	tb := &Testbed{t: t, Run: "tb" + strings.ToLower(rand.Text()[:10])}
	if len(opts) > 0 {
		tb.opts = opts[0]
	}
	registry, err := StartRegistry(tb.opts)
	if err != nil {
		t.Fatal(err)
	}
	tb.Registry = registry
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Errorf("closing the registry: %v", err)
		}
	})
	tb.docker = sync.OnceValue(tb.connect)
	return tb
}

// Ref returns what the registry calls an image: "127.0.0.1:40123/app:v1".
func (tb *Testbed) Ref(name, tag string) string { return tb.Registry.Host + "/" + name + ":" + tag }

// Push makes an image of the app and pushes it. It returns the reference and the
// digest that the registry knows it by.
func (tb *Testbed) Push(name, tag string, mode Mode, opts ...Option) (ref, digest string) {
	tb.t.Helper()
	ref = tb.Ref(name, tag)
	img := NewImage(tag, mode, append(opts, Label(RunLabel, tb.Run))...)
	digest, err := Push(tb.t.Context(), ref, Binary(tb.t), img, tb.remote()...)
	if err != nil {
		tb.t.Fatal(err)
	}
	return ref, digest
}

// PushBroken pushes an image whose own layer the registry then has no more: the
// engine's pull answers 200 and fails inside its stream.
func (tb *Testbed) PushBroken(name, tag string, opts ...Option) (ref, digest string) {
	tb.t.Helper()
	opts = append(opts, Label(RunLabel, tb.Run), Padding(4096))
	img := NewImage(tag, Good, opts...)
	binary := Binary(tb.t)
	layers, err := img.layers(binary)
	if err != nil {
		tb.t.Fatal(err)
	}
	ref = tb.Ref(name, tag)
	digest, err = Push(tb.t.Context(), ref, binary, img, tb.remote()...)
	if err != nil {
		tb.t.Fatal(err)
	}
	tb.Registry.Lose(layerDigest(tb.t, layers[len(layers)-1]))
	return ref, digest
}

func layerDigest(t testing.TB, layer v1.Layer) string {
	t.Helper()
	hash, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

// remote says how the testbed itself speaks to its registry.
func (tb *Testbed) remote() []remote.Option {
	var opts []remote.Option
	if tb.opts.User != "" {
		opts = append(opts, remote.WithAuth(&authn.Basic{Username: tb.opts.User, Password: tb.opts.Password}))
	}
	if tb.opts.TLS {
		opts = append(opts, remote.WithTransport(tb.Registry.Transport()))
	}
	return opts
}

// Port returns a TCP port of 127.0.0.1 that was free a moment ago.
func Port(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Eventually asks until there is no error left, and fails the test with the last
// one when there still is after so long.
func Eventually(t testing.TB, within time.Duration, ask func() error) {
	t.Helper()
	deadline, tick := time.NewTimer(within), time.NewTicker(20*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("after %s: %v", within, err)
		case <-tick.C:
		}
	}
}
