package testbed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Mode is what the app in an image does, unless its container's APP_MODE says
// otherwise.
type Mode string

// The modes of the app: see package testbed/app.
const (
	Good  Mode = "good"
	Crash Mode = "crash"
	Sick  Mode = "sick" // runs, answers 500
	Slow  Mode = "slow"
	OOM   Mode = "oom"
	Hang  Mode = "hang"
	Flap  Mode = "flap"
	Job   Mode = "job"
)

// Image says what an image is made of.
type Image struct {
	Mode      Mode
	Version   string            // what the app answers; Push takes the tag
	Env       map[string]string // baked in
	Labels    map[string]string
	Check     *v1.HealthConfig // HEALTHCHECK
	Platforms []string         // "linux/arm64"; none: this machine's; several: an index
	Volumes   []string         // anonymous volumes
	Cmd       []string
	OCI       bool // OCI media types instead of Docker's
	Padding   int  // bytes of a layer that no other image has
}

// Option changes an image before it is built.
type Option func(*Image)

// Env bakes variables into the image: Env("APP_CRASH_AFTER", "1s").
func Env(key, value string) Option { return func(i *Image) { i.Env[key] = value } }

// Label puts a label on the image.
func Label(key, value string) Option { return func(i *Image) { i.Labels[key] = value } }

// Check gives the image a HEALTHCHECK that asks the app's own /health.
func Check(interval, startPeriod time.Duration, retries int) Option {
	return func(i *Image) {
		i.Check = &v1.HealthConfig{
			Test:     []string{"CMD", "/app", "-check"},
			Interval: interval, Timeout: 3 * time.Second, StartPeriod: startPeriod, Retries: retries,
		}
	}
}

// Platforms says what the image claims to be for: "linux/arm64". Several make an
// index. The binary inside is always this machine's.
func Platforms(platforms ...string) Option { return func(i *Image) { i.Platforms = platforms } }

// OtherArchitecture makes an image that does not run on this machine.
func OtherArchitecture() Option {
	if runtime.GOARCH == "arm64" {
		return Platforms("linux/amd64")
	}
	return Platforms("linux/arm64")
}

// Volume declares an anonymous volume.
func Volume(path string) Option { return func(i *Image) { i.Volumes = append(i.Volumes, path) } }

// Padding adds a layer of that many bytes that no other image has.
func Padding(size int) Option { return func(i *Image) { i.Padding = size } }

// OCI uses OCI media types instead of Docker's.
func OCI() Option { return func(i *Image) { i.OCI = true } }

// NewImage describes an image of the app.
func NewImage(version string, mode Mode, opts ...Option) Image {
	img := Image{Mode: mode, Version: version, Env: map[string]string{}, Labels: map[string]string{}}
	for _, opt := range opts {
		opt(&img)
	}
	return img
}

// Push builds the image around the binary, pushes it to ref and returns the
// digest of its manifest, or of its index where it is for several platforms.
func Push(ctx context.Context, ref, binary string, img Image, opts ...remote.Option) (digest string, err error) {
	target, err := name.ParseReference(ref)
	if err != nil {
		return "", fmt.Errorf("reading the reference %s: %w", ref, err)
	}
	content, err := img.build(binary)
	if err != nil {
		return "", fmt.Errorf("building %s: %w", ref, err)
	}
	if err := remote.Push(target, content, append(opts, remote.WithContext(ctx))...); err != nil {
		return "", fmt.Errorf("pushing %s: %w", ref, err)
	}
	hash, err := content.Digest()
	return hash.String(), err
}

// content is an image or an index.
type content interface {
	remote.Taggable
	Digest() (v1.Hash, error)
}

func (i Image) build(binary string) (content, error) {
	layers, err := i.layers(binary)
	if err != nil {
		return nil, err
	}
	platforms := i.Platforms
	if len(platforms) == 0 {
		platforms = []string{"linux/" + runtime.GOARCH}
	}
	var adds []mutate.IndexAddendum
	for _, p := range platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			return nil, err
		}
		image, err := i.forPlatform(*platform, layers)
		if err != nil {
			return nil, err
		}
		if len(platforms) == 1 {
			return image, nil
		}
		adds = append(adds, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	index := mutate.AppendManifests(empty.Index, adds...)
	if !i.OCI {
		index = mutate.IndexMediaType(index, types.DockerManifestList)
	}
	return index, nil
}

func (i Image) forPlatform(platform v1.Platform, layers []v1.Layer) (v1.Image, error) {
	base := empty.Image
	if i.OCI {
		base = mutate.ConfigMediaType(mutate.MediaType(base, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	image, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Config = i.config()
	return mutate.ConfigFile(image, file)
}

func (i Image) config() v1.Config {
	env := maps.Clone(i.Env)
	env["APP_VERSION"], env["APP_MODE"] = i.Version, string(i.Mode)
	config := v1.Config{
		Entrypoint:   []string{"/app"},
		Cmd:          i.Cmd,
		Labels:       i.Labels,
		Healthcheck:  i.Check,
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		config.Env = append(config.Env, key+"="+env[key])
	}
	if len(i.Volumes) > 0 {
		config.Volumes = map[string]struct{}{}
		for _, path := range i.Volumes {
			config.Volumes[path] = struct{}{}
		}
	}
	return config
}

// layers returns the binary's layer, the same for every image, and the padding.
func (i Image) layers(binary string) ([]v1.Layer, error) {
	app, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	shared, err := i.layer(map[string][]byte{"app": app})
	if err != nil || i.Padding == 0 {
		return []v1.Layer{shared}, err
	}
	seed := fmt.Sprintf("%s %s %v\n", i.Version, i.Mode, i.Labels)
	text := strings.Repeat(seed, i.Padding/len(seed)+1)[:i.Padding]
	own, err := i.layer(map[string][]byte{"padding": []byte(text)})
	return []v1.Layer{shared, own}, err
}

func (i Image) layer(files map[string][]byte) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for path, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	mediaType := types.DockerLayer
	if i.OCI {
		mediaType = types.OCILayer
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(mediaType), tarball.WithCompressionLevel(gzip.NoCompression))
}

// OwnPlatform is this machine's.
func OwnPlatform() *v1.Platform { return &v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }
