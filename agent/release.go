package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Artifact is one thing that a release runs.
type Artifact struct {
	Name   string `json:"name"`   // compose service
	Ref    string `json:"ref"`    // as the file names it, or as a human overrides it
	Digest string `json:"digest"` // "sha256:…" of the manifest or index in its registry; of the image itself where it exists only locally; "" while unresolved

	// FileRef is what the file names where an override takes its place, else "".
	FileRef string `json:"file_ref,omitempty"`
	// Local is the identity the target found for the artifact after Fetch (an
	// image ID); "" before. Instances run it.
	Local string `json:"local,omitempty"`
	// Config is the target's own hash of how this artifact is run, as its
	// instances show it. It is compared with what instances carry, never between
	// versions of the agent.
	Config string `json:"config,omitempty"`
	// Count is how many instances the model asks for; 0 for a one-shot, whose
	// container may be gone.
	Count int `json:"count"`
	// OneShot artifacts succeed by exiting 0.
	OneShot bool `json:"one_shot,omitempty"`
}

// Short names the artifact as people do: "web:1.4@1a2b3c4d5e6f".
func (a Artifact) Short() string {
	name := a.Ref[strings.LastIndex(a.Ref, "/")+1:]
	name, _, _ = strings.Cut(name, "@")
	if a.Digest == "" {
		return name
	}
	_, hex, found := strings.Cut(a.Digest, ":")
	if !found {
		hex = a.Digest
	}
	return name + "@" + hex[:min(12, len(hex))]
}

// Snapshot is everything a target needs to make a release serve again. Only
// the target that wrote it can read it.
type Snapshot struct {
	Format int    `json:"format"`
	Data   []byte `json:"data"`
}

// MaxSnapshot is the largest snapshot that is recorded, in bytes.
const MaxSnapshot = 4 << 20

// Wanted is what files, registry and human overrides ask for now.
type Wanted struct {
	Artifacts  []Artifact `json:"artifacts"`
	ConfigHash string     `json:"config_hash"` // canonical hash of the model without its image digests
	Model      string     `json:"model"`       // the model as readable lines, secrets replaced
	Snapshot   Snapshot   `json:"snapshot"`
	Files      []string   `json:"files"`    // every file the model was read from, absent ones that would count included
	Sources    []string   `json:"-"`        // those of Files that say what runs: who writes them rules this host
	Secrets    []Secret   `json:"-"`        // values that must not leave the host
	Warnings   []string   `json:"warnings"` // what deserves a word but stops nothing
}

// Resolved tells whether every artifact has a digest.
func (w Wanted) Resolved() bool {
	return !slices.ContainsFunc(w.Artifacts, func(a Artifact) bool { return a.Digest == "" })
}

// Fingerprint is the identity of what is wanted: see [Fingerprint].
func (w Wanted) Fingerprint() string { return Fingerprint(w.Artifacts, w.ConfigHash) }

// Fingerprint is the canonical, versioned hash of artifacts and config. It does
// not depend on the order of artifacts, nor on anything a target learns later.
// An unresolved artifact counts by its reference.
func Fingerprint(artifacts []Artifact, configHash string) string {
	sorted := slices.SortedFunc(slices.Values(artifacts), func(a, b Artifact) int {
		return strings.Compare(a.Name, b.Name)
	})
	h := sha256.New()
	io.WriteString(h, "rollback-agent fingerprint 1\n")
	for _, a := range sorted {
		identity := a.Digest
		if identity == "" {
			identity = "unresolved " + a.Ref
		}
		fmt.Fprintf(h, "%q %q\n", a.Name, identity)
	}
	fmt.Fprintf(h, "%q\n", configHash)
	return "1:" + hex.EncodeToString(h.Sum(nil))
}

// Standing says how far a release may be trusted as the end of a rollback.
type Standing string

// The standings of a release. Only stable and unverified ones are rolled back to.
const (
	StandingNew        Standing = "new"        // never proved
	StandingStable     Standing = "stable"     // ended its watch in good health
	StandingUnverified Standing = "unverified" // ended its watch; nothing but running containers proved it
	StandingRejected   Standing = "rejected"   // rolled back from, failed, or left by a human
)

// Release is one serving of an immutable description, numbered per service.
type Release struct {
	Service     string     `json:"service"`
	Number      int64      `json:"number"`
	Fingerprint string     `json:"fingerprint"`
	Artifacts   []Artifact `json:"artifacts"`
	ConfigHash  string     `json:"config_hash"`
	Model       string     `json:"model,omitempty"`
	Snapshot    Snapshot   `json:"-"` // recorded beside the release, loaded on demand
	Standing    Standing   `json:"standing"`
	Partial     bool       `json:"partial,omitempty"`  // what serves is known, how to restore it is not
	Restores    int64      `json:"restores,omitempty"` // the release that this one makes serve again
	// Irreversible releases say of themselves that what they do cannot be undone by
	// running the old one again. A target learns it with Fetch.
	Irreversible bool      `json:"irreversible,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
	Secrets      []Secret  `json:"-"`
}

// ReleaseName returns "r7", or "–" for no release.
func ReleaseName(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("r%d", n)
}

// Restorable tells whether a rollback may end at the release.
func (r Release) Restorable() bool {
	return !r.Partial && (r.Standing == StandingStable || r.Standing == StandingUnverified)
}
