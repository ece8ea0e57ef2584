package compose

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// parseRef reads an image reference as Docker does: "app" is
// "docker.io/library/app:latest".
func parseRef(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("reading the image reference %q: %w", ref, err)
	}
	return named, nil
}

// repository is what comes before tag and digest, in full.
func repository(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return named.Name()
}

// pinned returns the digest that a reference carries itself.
func pinned(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	if canonical, ok := named.(reference.Canonical); ok {
		return canonical.Digest().String()
	}
	return ""
}

func withoutDigest(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	return name
}

// byDigest names an image by content: "ghcr.io/acme/web@sha256:…".
func byDigest(ref, digest string) string { return repository(ref) + "@" + digest }

// digestPart returns what follows the @.
func digestPart(ref string) string {
	_, digest, _ := strings.Cut(ref, "@")
	return digest
}

const keepDomain = "localhost/rollback-agent/"

// keepRepository is where the images of one compose service are kept, under one
// tag for each release.
func keepRepository(service, composeService string) string {
	return keepDomain + hex.EncodeToString([]byte(service+"/"+composeService))
}

// ownerOf returns the service whose image is kept in a repository with that
// name, "" for none.
func ownerOf(name string) string {
	text, err := hex.DecodeString(name)
	if err != nil {
		return ""
	}
	service, _, _ := strings.Cut(string(text), "/")
	return service
}

func keepTag(service, composeService string, release int64) string {
	return fmt.Sprintf("%s:r%d", keepRepository(service, composeService), release)
}

// pulledTag marks an image that the agent pulled: only those it may delete.
func pulledTag(imageID string) string {
	_, id, _ := strings.Cut(imageID, ":")
	return keepDomain + "pulled:" + id[:min(len(id), 32)]
}
