package registry

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"rollback-agent/agent"
)

// DockerHub is what humans call the registry of names that name none.
const DockerHub = "docker.io"

// Name is a reference as everybody else would write it, too: "nginx" and
// "docker.io/library/nginx:latest" have one Name.
type Name struct {
	Full   string // "docker.io/library/nginx:latest"
	Host   string // "docker.io", "127.0.0.1:5000"
	Digest string // "sha256:…" of a reference that is pinned; "" else
}

// ParseName reads a reference. Its error is permanent and has a hint.
func ParseName(ref string) (Name, error) {
	parsed, err := parse(ref)
	if err != nil {
		return Name{}, err
	}
	host := hostOf(parsed)
	n := Name{Full: host + strings.TrimPrefix(parsed.Name(), parsed.Context().RegistryStr()), Host: host}
	if pinned, ok := parsed.(name.Digest); ok {
		n.Digest = pinned.DigestStr()
	}
	return n, nil
}

func parse(ref string, options ...name.Option) (name.Reference, error) {
	parsed, err := name.ParseReference(ref, options...)
	if err != nil {
		err = fmt.Errorf("reading the image reference %q: %w", ref, err)
		return nil, agent.Permanent(agent.WithHint(err, "a reference is [HOST[:PORT]/]NAME[:TAG] in lower case"))
	}
	return parsed, nil
}

func hostOf(ref name.Reference) string { return hostName(ref.Context().RegistryStr()) }

func hostName(host string) string {
	if host == name.DefaultRegistry {
		return DockerHub
	}
	return host
}
