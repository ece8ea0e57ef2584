package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// digest asks by HEAD, and by GET only where HEAD is refused or answered without
// a digest.
func (s *session) digest(ctx context.Context, ref name.Reference) (string, error) {
	head, err := s.puller.Head(ctx, ref)
	if err == nil {
		return sha256(head.Digest)
	}
	if !headRefused(err) {
		return "", err
	}
	got, err := s.puller.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	if !isManifest(got.Manifest) {
		return "", fmt.Errorf("%s answered with something that is no manifest", hostOf(ref))
	}
	return sha256(got.Digest)
}

func headRefused(err error) bool {
	if answer, ok := errors.AsType[*transport.Error](err); ok {
		return answer.StatusCode == http.StatusMethodNotAllowed || answer.StatusCode == http.StatusNotImplemented
	}
	// go-containerregistry has no type for an answer that lacks its headers.
	return strings.Contains(err.Error(), "response did not include")
}

// isManifest keeps the page of a login form, or half a manifest, from getting a
// digest of its own: the body of a tag is checked against nothing.
func isManifest(body []byte) bool {
	var manifest struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	return json.Unmarshal(body, &manifest) == nil && manifest.SchemaVersion > 0
}

// sha256 is the one algorithm that every engine knows an image by.
func sha256(digest v1.Hash) (string, error) {
	if digest.Algorithm != "sha256" {
		return "", fmt.Errorf("the registry answered with the digest %s, want one of sha256", digest)
	}
	return digest.String(), nil
}
