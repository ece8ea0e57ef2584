package history

import (
	"fmt"
	"slices"

	"rollback-agent/agent"
)

// KeepEvents is how many events survive a Prune, of all services together.
const KeepEvents = 100_000

// pruneBatch bounds one transaction, so that a deployment under way never waits
// long for its record.
const pruneBatch = 500

// Prune makes a service's history smaller. It drops ended deployments beyond
// the newest keepDeployments, snapshots of releases that are not in keepReleases,
// and releases that nothing refers to any more.
//
// Whatever it is told, it keeps unfinished deployments, the release that serves,
// the releases of unfinished deployments, and enough stable ones to go back to:
// the two newest, and two that differ. A release without its snapshot becomes
// Partial, so that nothing rolls back to it.
func (s *Store) Prune(service string, keepDeployments int, keepReleases []int64) error {
	for more := true; more; {
		err := s.update(func(w *writer) (err error) {
			more, err = w.pruneDeployments(service, keepDeployments)
			return err
		})
		if err != nil {
			return fmt.Errorf("pruning deployments of %q: %w", service, err)
		}
	}
	err := s.update(func(w *writer) error { return w.pruneReleases(service, keepReleases) })
	if err != nil {
		return fmt.Errorf("pruning releases of %q: %w", service, err)
	}
	if err := s.update((*writer).pruneEvents); err != nil {
		return fmt.Errorf("pruning events: %w", err)
	}
	return nil
}

// pruneDeployments drops one batch and tells whether there may be more.
func (w *writer) pruneDeployments(service string, keep int) (more bool, err error) {
	ids, err := identify(w.tx, agent.HistoryFilter{Service: service})
	if err != nil {
		return false, err
	}
	old := []int64{}
	for id := range ids {
		switch unfinished, err := w.has(bucketUnfinished, numberKey(id)); {
		case err != nil:
			return false, err
		case unfinished:
		case keep > 0:
			keep--
		default:
			old = append(old, id)
		}
	}
	batch := old[max(0, len(old)-pruneBatch):] // the oldest
	for _, id := range batch {
		if err := w.delete(bucketDeployments, numberKey(id)); err != nil {
			return false, err
		}
		if err := w.delete(bucketByService, nameNumberKey(service, id)); err != nil {
			return false, err
		}
	}
	return len(batch) < len(old), nil
}

func (w *writer) pruneReleases(service string, keep []int64) error {
	all, err := releases(w.tx, service)
	if err != nil {
		return err
	}
	known, err := w.mentioned(service)
	if err != nil {
		return err
	}
	safe, err := w.needed(service, all)
	if err != nil {
		return err
	}
	for _, rel := range all {
		switch {
		case slices.Contains(keep, rel.Number) || safe[rel.Number]:
		case known[rel.Number]:
			err = w.strip(rel)
		default:
			err = w.drop(rel)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mentioned returns the releases that a stored deployment names.
func (w *writer) mentioned(service string) (map[int64]bool, error) {
	ids, err := identify(w.tx, agent.HistoryFilter{Service: service})
	if err != nil {
		return nil, err
	}
	known := map[int64]bool{}
	for id := range ids {
		d, err := indexed(w.tx, id)
		if err != nil {
			return nil, err
		}
		known[d.From], known[d.To], known[d.Restored] = true, true, true
	}
	return known, nil
}

// needed returns the releases that a rollback may need, whatever is asked.
func (w *writer) needed(service string, newestFirst []agent.Release) (map[int64]bool, error) {
	record, _, err := lookup[agent.ServiceRecord](w.tx, bucketServices, namePrefix(service))
	if err != nil {
		return nil, err
	}
	b, err := open(w.tx, bucketUnfinished)
	if err != nil {
		return nil, err
	}
	safe := map[int64]bool{record.Serving: true}
	for key := range ascend(b, nil) {
		d, err := indexed(w.tx, keyNumber(key))
		if err != nil {
			return nil, err
		}
		if d.Service == service {
			safe[d.From], safe[d.To], safe[d.Restored] = true, true, true
		}
	}
	keepNewest(safe, newestFirst, func(r agent.Release) bool { return r.Restorable() && r.Standing == agent.StandingStable })
	keepNewest(safe, newestFirst, agent.Release.Restorable)
	return safe, nil
}

// keepNewest keeps the newest that fit until there are two of them, and two that
// differ: a release that serves cannot be rolled back to its own twin.
func keepNewest(safe map[int64]bool, newestFirst []agent.Release, fits func(agent.Release) bool) {
	n, different := 0, map[string]bool{}
	for _, rel := range newestFirst {
		if !fits(rel) || (n >= 2 && different[rel.Fingerprint]) {
			continue
		}
		safe[rel.Number], different[rel.Fingerprint] = true, true
		if n++; n >= 2 && len(different) >= 2 {
			return
		}
	}
}

// strip drops the snapshot and leaves the description.
func (w *writer) strip(rel agent.Release) error {
	key := nameNumberKey(rel.Service, rel.Number)
	had, err := w.has(bucketSnapshots, key)
	if err != nil || !had {
		return err
	}
	if err := w.delete(bucketSnapshots, key); err != nil {
		return err
	}
	rel.Partial = true
	return w.put(bucketReleases, key, rel)
}

func (w *writer) drop(rel agent.Release) error {
	key := nameNumberKey(rel.Service, rel.Number)
	if err := w.delete(bucketSnapshots, key); err != nil {
		return err
	}
	return w.delete(bucketReleases, key)
}

func (w *writer) pruneEvents() error {
	if w.seal.LastEvent <= KeepEvents {
		return nil
	}
	b, err := open(w.tx, bucketEvents)
	if err != nil {
		return err
	}
	limit, old := w.seal.LastEvent-KeepEvents, []int64{}
	for key := range ascend(b, nil) {
		if uint64(keyNumber(key)) > limit {
			break
		}
		old = append(old, keyNumber(key))
	}
	for _, seq := range old {
		if err := w.delete(bucketEvents, numberKey(seq)); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) has(bucket string, key []byte) (bool, error) {
	b, err := open(w.tx, bucket)
	if err != nil {
		return false, err
	}
	return b.Get(key) != nil, nil
}
