package watch

import (
	"fmt"
	"slices"
	"time"

	"rollback-agent/agent"
)

const (
	// manyRefused is from how many refused images of one registry on people are told
	// of all of them at once: most often a login is over.
	manyRefused = 3
	imagesOf    = "images of "
)

// tellRefused tells of an image that its registry refuses, or, where it refuses many,
// of all of them once.
func (i *Images) tellRefused(img *image, now time.Time) {
	h := img.host
	refused := h.refused()
	if !h.many && len(refused) < manyRefused {
		img.told = true
		i.events = append(i.events, i.imageTrouble(img, now))
		return
	}
	img.among = true
	if h.many {
		return
	}
	h.many = true
	i.events = append(i.events, troubleEvent(now, imagesOf+h.name, agent.Hint(img.err), fmt.Sprintf(
		"%d images of %s could not be resolved since %s: %s; it is about %s",
		len(refused), h.name, clock(img.since), plain(img.err, img.name.Full), list(refused))))
}

// refused are the names of the images that a registry refuses now.
func (h *host) refused() []string {
	var names []string
	for _, img := range h.images {
		if !img.since.IsZero() && len(img.services) > 0 && !img.quiet() {
			names = append(names, img.name.Full)
		}
	}
	slices.Sort(names)
	return names
}

// leave ends the trouble of many images when the last of them is out of it.
func (i *Images) leave(img *image, now time.Time) {
	if !img.among {
		return
	}
	img.among = false
	for _, other := range img.host.images {
		if other.among {
			return
		}
	}
	img.host.many = false
	i.events = append(i.events, mendedEvent(now, imagesOf+img.host.name, imagesOf+img.host.name+" can be resolved again"))
}
