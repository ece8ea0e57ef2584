package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"rollback-agent/agent"
)

// A disk with this much room is not measured against what is to be pulled: the
// exact question costs a GET of the manifest, which Docker Hub counts as a pull,
// and one look at every image on the host. Both numbers have to be reached, so
// that neither a small disk nor a nearly full one is taken for roomy. An image
// that fills even that ends with the engine's own error.
const (
	roomyBytes = 10 << 30
	roomyShare = 10 // per cent of the disk
)

// What a pull needs: the download, what it unpacks to, and some room that
// everybody else on the host goes on writing to. Layers say how large they are
// packed; two and a half times that is what they usually come to.
const (
	growthTenths = 10 + 25
	margin       = 256 << 20
)

// space is the room of a file system, in bytes.
type space struct{ free, total int64 }

func (s space) roomy() bool { return s.free >= roomyBytes && s.free >= s.total/100*roomyShare }

// spaceOf measures the file system of a directory, as `df` shows it: what only
// root may use does not count.
func spaceOf(dir string) (space, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return space{}, fmt.Errorf("measuring the disk of %s: %w", dir, err)
	}
	return space{free: int64(stat.Bavail) * stat.Bsize, total: int64(stat.Blocks) * stat.Bsize}, nil
}

// haveRoom refuses a Fetch that would fill the disk, before anything of it is
// downloaded. The error is not permanent: a disk can become free, and the caller
// tries again until its deadline. An estimate never stops a rollback. Images of
// hooks are not counted.
func (f *fetching) haveRoom(ctx context.Context) error {
	missing := f.missing()
	if len(missing) == 0 || f.rel.Restores > 0 {
		return nil
	}
	dir, err := f.engine.store(ctx)
	if err != nil {
		return err
	}
	if dir == "" {
		f.log.Debug("disk space is not checked: the engine's directory is not on this host", "service", f.svc.Name, "engine", f.engine.host)
		return nil
	}
	room, err := f.space(dir)
	if err != nil {
		f.log.Debug("disk space is not checked", "service", f.svc.Name, "error", err)
		return nil
	}
	if room.roomy() {
		return nil
	}
	need := f.need(ctx, missing)
	if need <= room.free {
		return nil
	}
	return agent.WithHint(fmt.Errorf("fetching %s of service %q: %w: about %s are needed in %s, %s are free",
		agent.ReleaseName(f.rel.Number), f.svc.Name, agent.ErrNoSpace, inBytes(need), dir, inBytes(room.free)),
		fmt.Sprintf("make room in %s: %s are free, about %s are needed; `docker system df` shows what takes it", dir, inBytes(room.free), inBytes(need)))
}

// missing are the artifacts that have to be pulled, each image once.
func (f *fetching) missing() []agent.Artifact {
	var missing []agent.Artifact
	for i, a := range f.rel.Artifacts {
		same := func(other agent.Artifact) bool {
			return byDigest(other.Ref, other.Digest) == byDigest(a.Ref, a.Digest) && f.platform(other) == f.platform(a)
		}
		if f.images[i] == nil && !slices.ContainsFunc(missing, same) {
			missing = append(missing, a)
		}
	}
	return missing
}

// need estimates how many bytes pulling some artifacts takes, 0 for nothing or
// for no idea.
func (f *fetching) need(ctx context.Context, missing []agent.Artifact) int64 {
	stacks, err := f.engine.stacks(ctx)
	if err != nil {
		f.log.Debug("disk space is not checked", "service", f.svc.Name, "error", err)
		return 0
	}
	absent := map[string]int64{}
	for _, a := range missing {
		layers, err := f.layers(ctx, a)
		if err != nil { // the pull will tell what is wrong
			f.log.Debug("the registry does not tell how large an image is", "service", f.svc.Name, "image", a.Ref, "error", err)
			continue
		}
		var stack strings.Builder
		for _, l := range layers {
			if stack.WriteString(l.diffID); !stacks[stack.String()] {
				absent[l.digest] = l.size
			}
		}
	}
	var packed int64
	for _, size := range absent {
		packed += size
	}
	if packed == 0 {
		return 0
	}
	return packed*growthTenths/10 + margin
}

// store returns the directory that the engine's images are in, "" where that is
// not on this host.
func (e *engine) store(ctx context.Context) (string, error) {
	if !strings.HasPrefix(e.host, "unix://") {
		return "", nil
	}
	info, err := e.info(ctx)
	if err != nil {
		return "", err
	}
	for _, dir := range storesOf(info) {
		if stat, err := os.Stat(dir); err == nil && stat.IsDir() {
			return dir, nil
		}
	}
	return "", nil
}

// storesOf are the places where an engine may have its images, the likeliest
// first: its root, but for a containerd image store, which is in the engine's own
// containerd or in the system's.
func storesOf(info system.Info) []string {
	if info.DockerRootDir == "" {
		return nil
	}
	if !usesContainerd(info) {
		return []string{info.DockerRootDir}
	}
	return []string{filepath.Join(info.DockerRootDir, "containerd", "daemon"), "/var/lib/containerd"}
}

func usesContainerd(info system.Info) bool {
	return slices.ContainsFunc(info.DriverStatus, func(pair [2]string) bool {
		return strings.HasPrefix(pair[1], "io.containerd.snapshotter")
	})
}

func (e *engine) info(ctx context.Context) (system.Info, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	result, err := e.client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return system.Info{}, e.wrap(ctx, err, "asking the engine for its image store")
	}
	return result.Info, nil
}

// stacks returns every stack of layers that an image on this host has. Layers are
// only shared from the bottom up.
func (e *engine) stacks(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := change(ctx)
	defer cancel()
	list, err := e.client.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, e.wrap(ctx, err, "listing images")
	}
	stacks := map[string]bool{}
	for _, listed := range list.Items {
		image, err := e.image(ctx, listed.ID)
		if err != nil {
			return nil, err
		}
		if image == nil {
			continue // gone meanwhile
		}
		var stack strings.Builder
		for _, diffID := range image.RootFS.Layers {
			stack.WriteString(diffID)
			stacks[stack.String()] = true
		}
	}
	return stacks, nil
}

// inBytes writes a size as people read it.
func inBytes(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%d MB", n/1e6)
	}
	return fmt.Sprintf("%d kB", n/1e3)
}
