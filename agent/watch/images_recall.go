package watch

import (
	"strings"
	"time"

	"rollback-agent/agent"
)

// Recall names the troubles that an earlier process told of and did not see the end
// of. Their end is told by this one; what it does not ask for is over, too.
func (i *Images) Recall(troubles []agent.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range troubles {
		if strings.HasPrefix(e.Subject, "registry ") || strings.HasPrefix(e.Subject, "image ") || strings.HasPrefix(e.Subject, imagesOf) {
			i.recalled[e.Subject] = e.At
		}
	}
}

// overAgain ends a trouble of an earlier process.
func (i *Images) overAgain(subject, what string, now time.Time) {
	since, ok := i.recalled[subject]
	if !ok {
		return
	}
	delete(i.recalled, subject)
	i.events = append(i.events, mendedEvent(now, subject, subject+" "+what+", after "+now.Sub(since).Round(time.Second).String()))
}

// forgetRecalled ends the troubles of an earlier process that are nobody's any more:
// this one has not met them within the patience for a trouble. It returns when to
// look; zero: never.
func (i *Images) forgetRecalled(now time.Time) time.Time {
	if len(i.recalled) == 0 {
		return time.Time{}
	}
	if at := i.began.Add(patiencePolls * i.interval); now.Before(at) {
		return at
	}
	met := i.troubles()
	for subject := range i.recalled {
		t, ok := met[subject]
		if !ok {
			i.events = append(i.events, mendedEvent(now, subject, "nothing is amiss with "+subject+" any more"))
		}
		if !ok || t.told { // else it is told soon, and then its end is
			delete(i.recalled, subject)
		}
	}
	return now.Add(i.interval)
}

// troubles are those that this process has met, by subject.
func (i *Images) troubles() map[string]trouble {
	met := map[string]trouble{}
	for _, h := range i.hosts {
		if !h.since.IsZero() {
			met[subjectOfHost(h)] = h.trouble
		}
		if h.many {
			met[imagesOf+h.name] = trouble{told: true}
		}
	}
	for _, img := range i.images {
		if !img.since.IsZero() {
			met[subjectOf(img)] = img.trouble
			if _, ok := met[imagesOf+img.host.name]; !ok {
				met[imagesOf+img.host.name] = img.trouble // it may become one of many
			}
		}
	}
	return met
}
