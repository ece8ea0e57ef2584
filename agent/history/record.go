package history

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"rollback-agent/agent"
)

// Record writes everything in the entry in one transaction and returns when it
// is on disk. The returned entry has the numbers that the store gave: of a new
// deployment, of the event, and of the deployment in the event and in quarantine
// records that left it out. The entry that was passed in is not changed.
func (s *Store) Record(entry agent.Entry) (agent.Entry, error) {
	if err := check(entry); err != nil {
		return agent.Entry{}, err
	}
	err := s.update(func(w *writer) (err error) {
		entry, err = w.entry(entry)
		return err
	})
	if err != nil {
		return agent.Entry{}, fmt.Errorf("recording %s: %w", subject(entry), err)
	}
	s.announce()
	return entry, nil
}

// DeleteService forgets everything about a service but its events. Releases of a
// later service of that name are numbered from 1 again.
func (s *Store) DeleteService(name string) error {
	err := s.update(func(w *writer) error { return w.forget(name) })
	if err != nil {
		return fmt.Errorf("forgetting service %q: %w", name, err)
	}
	s.announce()
	return nil
}

func (s *Store) update(do func(*writer) error) error {
	return guarded(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			sealed, err := getMeta[seal](tx, keySeal)
			if err != nil {
				return err
			}
			w := &writer{tx: tx, seal: sealed}
			if err := do(w); err != nil || w.seal == sealed {
				return err
			}
			return putMeta(tx, keySeal, w.seal)
		})
	})
}

func check(e agent.Entry) error {
	var faults []error
	if e.Service != nil {
		faults = append(faults, checkName(e.Service.Name))
	}
	if e.Deployment != nil {
		faults = append(faults, checkName(e.Deployment.Service))
	}
	for _, rel := range e.Releases {
		faults = append(faults, checkName(rel.Service), checkRelease(rel))
	}
	for _, q := range e.Quarantine {
		faults = append(faults, checkName(q.Service))
	}
	if len(e.Release) > 0 && subject(e) == "" {
		faults = append(faults, errors.New("recording an end of quarantine: no service is named"))
	}
	return errors.Join(faults...)
}

func checkRelease(rel agent.Release) error {
	switch {
	case rel.Number <= 0:
		return fmt.Errorf("recording a release of %q: it has no number", rel.Service)
	case len(rel.Snapshot.Data) > agent.MaxSnapshot:
		return fmt.Errorf("recording release %s of %q: snapshot has %d bytes, at most %d are kept",
			agent.ReleaseName(rel.Number), rel.Service, len(rel.Snapshot.Data), agent.MaxSnapshot)
	}
	return nil
}

// subject is the service that an entry is about.
func subject(e agent.Entry) string {
	switch {
	case e.Service != nil:
		return e.Service.Name
	case e.Deployment != nil:
		return e.Deployment.Service
	case len(e.Releases) > 0:
		return e.Releases[0].Service
	case e.Event != nil:
		return e.Event.Service
	}
	return ""
}

// writer is one transaction that keeps the seal in step.
type writer struct {
	tx   *bolt.Tx
	seal seal
}

func (w *writer) entry(e agent.Entry) (agent.Entry, error) {
	var err error
	if e.Deployment != nil {
		if e.Deployment, err = w.deployment(*e.Deployment); err != nil {
			return e, err
		}
	}
	if e.Service != nil {
		if err := w.put(bucketServices, namePrefix(e.Service.Name), e.Service); err != nil {
			return e, err
		}
	}
	for _, rel := range e.Releases {
		if err := w.release(rel); err != nil {
			return e, err
		}
	}
	if e.Quarantine, err = w.quarantine(e); err != nil {
		return e, err
	}
	if e.Event != nil {
		e.Event, err = w.event(*e.Event, e.Deployment)
	}
	return e, err
}

func (w *writer) deployment(d agent.Deployment) (*agent.Deployment, error) {
	switch {
	case d.ID == 0:
		w.seal.LastDeployment++
		d.ID = w.seal.LastDeployment
	default:
		old, ok, err := lookup[agent.Deployment](w.tx, bucketDeployments, numberKey(d.ID))
		if err != nil {
			return nil, err
		}
		if !ok || old.Service != d.Service {
			return nil, fmt.Errorf("deployment %d of %q: %w", d.ID, d.Service, ErrNotFound)
		}
	}
	key := numberKey(d.ID)
	err := errors.Join(
		w.put(bucketDeployments, key, d),
		w.put(bucketByService, nameNumberKey(d.Service, d.ID), nil),
	)
	if err != nil {
		return nil, err
	}
	if d.State.Ended() {
		return &d, w.delete(bucketUnfinished, key)
	}
	return &d, w.put(bucketUnfinished, key, nil)
}

func (w *writer) release(rel agent.Release) error {
	key := nameNumberKey(rel.Service, rel.Number)
	if err := w.put(bucketReleases, key, rel); err != nil {
		return err
	}
	if len(rel.Snapshot.Data) == 0 {
		return nil
	}
	return w.put(bucketSnapshots, key, rel.Snapshot)
}

// quarantine first lifts, then imposes, so that one entry can renew a record.
func (w *writer) quarantine(e agent.Entry) ([]agent.Quarantined, error) {
	for _, fingerprint := range e.Release {
		if err := w.delete(bucketQuarantine, quarantineKey(subject(e), fingerprint)); err != nil {
			return nil, err
		}
	}
	var records []agent.Quarantined
	for _, q := range e.Quarantine {
		if e.Deployment != nil {
			q.Deployment = cmp.Or(q.Deployment, e.Deployment.ID)
		}
		if err := w.put(bucketQuarantine, quarantineKey(q.Service, q.Fingerprint), q); err != nil {
			return nil, err
		}
		records = append(records, q)
	}
	return records, nil
}

func (w *writer) event(event agent.Event, of *agent.Deployment) (*agent.Event, error) {
	w.seal.LastEvent++
	event.Seq = w.seal.LastEvent
	if of != nil {
		event.Deployment = cmp.Or(event.Deployment, of.ID)
	}
	return &event, w.put(bucketEvents, numberKey(int64(event.Seq)), event)
}

func (w *writer) put(bucket string, key []byte, value any) error {
	b, err := open(w.tx, bucket)
	if err != nil {
		return err
	}
	stored, err := encode(bucket, key, value)
	if err != nil {
		return err
	}
	old := b.Get(key)
	if bytes.Equal(old, stored) {
		return nil
	}
	if old == nil {
		w.seal.Records++
	}
	w.seal.Sum += storedSum(stored) - storedSum(old)
	if bucket == bucketDeployments || bucket == bucketEvents {
		b.FillPercent = 0.95 // keys only ever grow: half-empty pages would stay so
	}
	if err := b.Put(key, stored); err != nil {
		return fmt.Errorf("writing to %s: %w", bucket, err)
	}
	return nil
}

func (w *writer) delete(bucket string, key []byte) error {
	b, err := open(w.tx, bucket)
	if err != nil {
		return err
	}
	old := b.Get(key)
	if old == nil {
		return nil
	}
	w.seal.Records--
	w.seal.Sum -= storedSum(old)
	if err := b.Delete(key); err != nil {
		return fmt.Errorf("deleting from %s: %w", bucket, err)
	}
	return nil
}

// deletePrefix deletes every record whose key begins with prefix.
func (w *writer) deletePrefix(bucket string, prefix []byte) error {
	b, err := open(w.tx, bucket)
	if err != nil {
		return err
	}
	var keys [][]byte // a cursor does not survive a deletion
	for key := range ascend(b, prefix) {
		keys = append(keys, bytes.Clone(key))
	}
	for _, key := range keys {
		if err := w.delete(bucket, key); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) forget(name string) error {
	b, err := open(w.tx, bucketByService)
	if err != nil {
		return err
	}
	prefix := namePrefix(name)
	for key := range ascend(b, prefix) {
		id := numberKey(keyNumber(key))
		if err := errors.Join(w.delete(bucketDeployments, id), w.delete(bucketUnfinished, id)); err != nil {
			return err
		}
	}
	for _, bucket := range []string{bucketByService, bucketReleases, bucketSnapshots, bucketQuarantine} {
		if err := w.deletePrefix(bucket, prefix); err != nil {
			return err
		}
	}
	return w.delete(bucketServices, prefix)
}

func storedSum(stored []byte) uint64 {
	if len(stored) < checksumSize {
		return 0
	}
	return uint64(binary.BigEndian.Uint32(stored))
}

func quarantineKey(service, fingerprint string) []byte {
	return append(namePrefix(service), fingerprint...)
}
