package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
)

// maxImages is how many images of a release people are shown.
const maxImages = 3

func (t teller) facts() []Fact {
	facts := []Fact{
		{"Host", t.using.Host},
		{"Deployment", fmt.Sprintf("%d by %s", t.dep.ID, t.dep.Actor)},
		{"From → to", t.fromTo()},
	}
	if t.dep.State.Ended() {
		facts = append(facts, Fact{"Serves now", t.serving()}, Fact{"Took", span(t.dep.Duration(time.Now()))})
	}
	if p := t.record.Pause; p.Active(time.Now()) && p.By == "agent" {
		note := "nothing deploys by itself until `agent resume " + t.dep.Service + "`"
		if p.Note != "" && !says(t.why(), p.Note) {
			note = p.Note + "; " + note
		}
		facts = append(facts, Fact{"Paused", note})
	}
	return facts
}

// fromTo shows what the deployment changes.
func (t teller) fromTo() string {
	if t.from == nil || t.to == nil || len(t.differing()) > 0 {
		return t.release(t.dep.From) + " → " + t.release(t.dep.To)
	}
	same := "same images, other config"
	if t.from.ConfigHash == t.to.ConfigHash {
		same = "same images, same config"
	}
	return t.name(t.dep.From) + " → " + t.name(t.dep.To) + ", " + same
}

// serving says what was found to serve at the end.
func (t teller) serving() string {
	switch t.dep.Serving {
	case agent.ServingNew:
		return t.release(t.dep.To)
	case agent.ServingOld:
		return t.release(cmp.Or(t.dep.Restored, t.dep.From))
	case agent.ServingMixed:
		return "part new, part old"
	case agent.ServingOther:
		return "neither of them: somebody else's doing"
	case agent.ServingNone:
		return "NOTHING"
	}
	return "unknown: it could not be looked up"
}

// release names a release by number and by those of its images that tell it from the
// other one: in a service of ten, nine of them are no news.
func (t teller) release(number int64) string {
	rel := t.known(number)
	if rel == nil {
		return t.name(number)
	}
	var images []string
	differing := t.differing()
	for _, a := range rel.Artifacts {
		if len(rel.Artifacts) == 1 || t.from == nil || t.to == nil || differing[a.Name] {
			images = append(images, a.Short())
		}
	}
	slices.Sort(images)
	images = slices.Compact(images)
	if more := len(images) - maxImages; more > 0 {
		images = append(images[:maxImages], fmt.Sprintf("and %d more", more))
	}
	return strings.TrimSpace(t.name(number) + " " + strings.Join(images, ", "))
}

// name is the number of a release, and of the one that it makes serve again.
func (t teller) name(number int64) string {
	if number == 0 {
		return "nothing"
	}
	name := agent.ReleaseName(number)
	if source := t.source(number); source != name {
		name += " (" + source + " again)"
	}
	return name
}

// differing names the artifacts whose images differ between the two releases.
func (t teller) differing() map[string]bool {
	return t.differ(func(a, b agent.Artifact) bool {
		return a.Digest != b.Digest || a.Digest == "" && a.Ref != b.Ref
	})
}

// changed names those that differ in anything.
func (t teller) changed() map[string]bool {
	return t.differ(func(a, b agent.Artifact) bool {
		return a.Digest != b.Digest || a.Ref != b.Ref || a.Config != b.Config
	})
}

func (t teller) differ(differ func(a, b agent.Artifact) bool) map[string]bool {
	names := map[string]bool{}
	if t.from == nil || t.to == nil {
		return names
	}
	before := map[string]agent.Artifact{}
	for _, a := range t.from.Artifacts {
		before[a.Name] = a
	}
	for _, a := range t.to.Artifacts {
		if b, ok := before[a.Name]; !ok || differ(a, b) {
			names[a.Name] = true
		}
		delete(before, a.Name)
	}
	for name := range before {
		names[name] = true // it is gone
	}
	return names
}
