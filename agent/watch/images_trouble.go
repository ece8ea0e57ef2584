package watch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/registry"
)

const (
	// patiencePolls is how many polls in a row may go without an answer before
	// people are told.
	patiencePolls = 5
	maxText       = 300 // characters of an error
	maxNames      = 5   // services named in a message
)

// trouble is a row of failures.
type trouble struct {
	since time.Time // zero: none
	err   error
	told  bool
}

// unasked is an error in words that do not change from one question to the next.
type unasked struct {
	text  string
	cause error
}

func (u unasked) Error() string { return u.text }
func (u unasked) Unwrap() error { return u.cause }

// Problems returns, by service, which registries cannot be asked and which images
// cannot be resolved, and since when. Its errors have hints.
func (i *Images) Problems() map[string]error {
	i.mu.Lock()
	defer i.mu.Unlock()
	problems := map[string]error{}
	for service, names := range i.services {
		var errs []error
		said := map[string]bool{}
		for _, full := range names {
			if err := i.images[full].problem(); err != nil && !said[err.Error()] {
				said[err.Error()] = true
				errs = append(errs, err)
			}
		}
		if len(errs) == 1 {
			problems[service] = errs[0]
		} else if len(errs) > 0 {
			problems[service] = errors.Join(errs...)
		}
	}
	return problems
}

func (img *image) problem() error {
	switch {
	case img.quiet():
		return nil
	case !img.host.since.IsZero():
		return unasked{img.host.text(), img.host.err}
	case !img.since.IsZero():
		return unasked{img.text(), img.err}
	}
	return nil
}

// quiet is an image of Docker Hub that has never been answered: most likely it is
// built here and no registry knows it.
func (img *image) quiet() bool { return img.host.name == registry.DockerHub && img.digest == "" }

// text says what is wrong with a registry.
func (h *host) text() string {
	text := fmt.Sprintf("registry %s cannot be asked since %s: %s", h.name, clock(h.since), h.err)
	if h.busy {
		text += "; it is left alone until " + clock(h.until)
	}
	return text
}

func (img *image) text() string {
	return fmt.Sprintf("image %s cannot be resolved since %s: %s", img.name.Full, clock(img.since), plain(img.err, img.name.Full))
}

// alert tells people of a registry that has not answered for long, and returns
// when there may be something to tell; zero: nothing.
func (i *Images) alert(h *host, now time.Time) time.Time {
	switch {
	case h.since.IsZero():
		return time.Time{}
	case h.told && h.wanted == 0:
		return i.once(h.idle.Add(i.interval), now, func() { i.unwanted(&h.trouble, subjectOfHost(h), now) })
	case h.told, h.wanted == 0:
		return time.Time{}
	}
	return i.once(h.since.Add(patiencePolls*i.interval), now, func() {
		if services := h.services(); len(services) > 0 {
			h.told = true
			i.events = append(i.events, i.hostTrouble(h, services, now))
		}
	})
}

// once does something if it is time, or returns when it is.
func (i *Images) once(at, now time.Time, do func()) time.Time {
	if now.Before(at) {
		return at
	}
	do()
	return time.Time{}
}

// services returns those whose images are not watched meanwhile.
func (h *host) services() []string {
	var names []string
	for _, img := range h.images {
		if img.quiet() {
			continue
		}
		for service := range img.services {
			names = append(names, service)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (i *Images) hostTrouble(h *host, services []string, now time.Time) agent.Event {
	return troubleEvent(now, subjectOfHost(h), agent.Hint(h.err), fmt.Sprintf(
		"%s could not be asked since %s (%d polls missed): %s; images of %s are not watched",
		subjectOfHost(h), clock(h.since), now.Sub(h.since)/i.interval, h.err, list(services)))
}

func (i *Images) imageTrouble(img *image, now time.Time) agent.Event {
	var services []string
	for service := range img.services {
		services = append(services, service)
	}
	slices.Sort(services)
	return troubleEvent(now, subjectOf(img), agent.Hint(img.err), fmt.Sprintf(
		"%s could not be resolved since %s (%d polls): %s; %s gets no updates of it",
		subjectOf(img), clock(img.since), now.Sub(img.since)/i.interval, plain(img.err, img.name.Full), list(services)))
}

func troubleEvent(now time.Time, subject, hint, message string) agent.Event {
	return agent.Event{
		At: now, Kind: agent.EventTrouble, Subject: subject, Reason: agent.ReasonUnanswered,
		Severity: agent.SeverityWarning, Message: message, Hint: agent.Redact(hint, nil),
	}
}

// mended ends a trouble, and says so where it was told.
func (i *Images) mended(t *trouble, subject, what string, now time.Time) {
	if t.told {
		lasted := now.Sub(t.since).Round(time.Second)
		i.events = append(i.events, mendedEvent(now, subject, fmt.Sprintf("%s %s, after %s", subject, what, lasted)))
	}
	*t = trouble{}
}

// unwanted ends what people were told of a trouble that is nobody's any more.
func (i *Images) unwanted(t *trouble, subject string, now time.Time) {
	if t.told {
		i.events = append(i.events, mendedEvent(now, subject, "no service needs "+subject+" any more"))
	}
	t.told = false
}

func mendedEvent(now time.Time, subject, message string) agent.Event {
	return agent.Event{
		At: now, Kind: agent.EventMended, Subject: subject, Reason: agent.ReasonUnanswered,
		Severity: agent.SeverityInfo, Message: message,
	}
}

func subjectOfHost(h *host) string { return "registry " + h.name }
func subjectOf(img *image) string  { return "image " + img.name.Full }

// plain is the one line of an error that says what went wrong, without secrets and
// without the reference that everybody knows it is about.
func plain(err error, ref string) string {
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "resolving "+ref+": "), "\n")
	text = agent.Redact(text, nil)
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText]) + "…"
	}
	return text
}

// clock is a time of day, with the day where it is not today's.
func clock(t time.Time) string {
	if t.Local().Format(time.DateOnly) != time.Now().Format(time.DateOnly) {
		return t.Local().Format("2 Jan 15:04")
	}
	return t.Local().Format("15:04")
}

func list(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNames], ", "), more)
	}
	return strings.Join(names, ", ")
}
