package compose

import (
	"slices"
	"strings"
)

// names are what an image is called, by who gave it the name. Only an image that
// the agent brought, and that nobody else has named, is the agent's to delete.
type names struct {
	keep   []string // keep tags, of any service
	marks  []string // what the agent notes about the names it gave; pulled ones last
	given  []string // names that the agent gave
	others []string // names that somebody else gave
}

// agents tells whether the image is the agent's, but for what still needs it.
func (n names) agents() bool {
	return len(n.others) == 0 && slices.ContainsFunc(n.marks, func(m string) bool { return strings.HasPrefix(m, pulledMarks) })
}

// namesOf sorts the names that an engine lists. The containerd image store lists
// names by digest among the tags, and one for each tag among the digests; older
// engines list "<none>:<none>".
func namesOf(tags, digests []string) names {
	var n names
	tags = tagsOnly(tags)
	has := func(mark string) bool { return slices.Contains(tags, mark) }
	for _, tag := range tags {
		switch {
		case strings.HasPrefix(tag, pulledMarks):
			n.marks = append(n.marks, tag)
		case strings.HasPrefix(tag, namedMarks):
			n.marks = slices.Insert(n.marks, 0, tag)
		case strings.HasPrefix(tag, keepDomain):
			n.keep = append(n.keep, tag)
		default:
			n.add(tag, has(namedMark(tag)))
		}
	}
	for _, ref := range digests {
		if strings.Contains(ref, "@") && !strings.HasPrefix(ref, keepDomain) && !strings.HasPrefix(ref, "<none>") {
			n.add(ref, has(pulledMark(ref)))
		}
	}
	return n
}

func (n *names) add(name string, ours bool) {
	if ours {
		n.given = append(n.given, name)
	} else {
		n.others = append(n.others, name)
	}
}

// tagsOnly drops what is no tag: the containerd image store lists names by digest
// among them, older engines "<none>:<none>".
func tagsOnly(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "@") || n == "<none>:<none>" })
}

// partition splits a list by a question.
func partition(list []string, ask func(string) bool) (yes, no []string) {
	for _, entry := range list {
		if ask(entry) {
			yes = append(yes, entry)
		} else {
			no = append(no, entry)
		}
	}
	return yes, no
}
