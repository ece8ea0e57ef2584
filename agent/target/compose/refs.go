package compose

import (
	"crypto/sha256"
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

// Marks are tags, too. They say which of an image's names the agent gave, so that
// it takes away those alone. Like a name, a mark is on one image at a time.
const (
	pulledMarks = keepDomain + "pulled:" // brought here under a name by digest
	namedMarks  = keepDomain + "named:"  // the local tag was pointed at the image
)

// pulledMark says that the agent brought an image here by that name:
// "ghcr.io/acme/web@sha256:…". Only what it brought it may delete.
func pulledMark(ref string) string { return pulledMarks + short(byDigest(ref, digestPart(ref))) }

// namedMark says that the agent gave an image that local tag.
func namedMark(tag string) string { return namedMarks + short(fullTag(tag)) }

// fullTag is a tag with its registry: "docker.io/library/app:latest".
func fullTag(tag string) string {
	named, err := parseRef(tag)
	if err != nil {
		return tag
	}
	return named.String()
}

func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
