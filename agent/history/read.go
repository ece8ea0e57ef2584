package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	bolt "go.etcd.io/bbolt"

	"rollback-agent/agent"
)

// Service returns what is known of a service; only the name when nothing is.
func (s *Store) Service(name string) (agent.ServiceRecord, error) {
	record := agent.ServiceRecord{Name: name}
	err := s.view(func(tx *bolt.Tx) error {
		found, ok, err := lookup[agent.ServiceRecord](tx, bucketServices, namePrefix(name))
		if ok {
			record = found
		}
		return err
	})
	return record, err
}

// Services returns every service that is known, by name.
func (s *Store) Services() ([]agent.ServiceRecord, error) {
	return list[agent.ServiceRecord](s, bucketServices, nil)
}

// Deployment returns one deployment, or ErrNotFound.
func (s *Store) Deployment(id int64) (agent.Deployment, error) {
	var found agent.Deployment
	err := s.view(func(tx *bolt.Tx) (err error) {
		found, err = deployment(tx, id)
		return err
	})
	return found, err
}

// Deployments returns those that the filter chooses, newest first.
func (s *Store) Deployments(filter agent.HistoryFilter) ([]agent.Deployment, error) {
	found := []agent.Deployment{}
	err := s.view(func(tx *bolt.Tx) error {
		ids, err := identify(tx, filter)
		if err != nil {
			return err
		}
		for id := range ids {
			if filter.Limit > 0 && len(found) == filter.Limit {
				return nil
			}
			d, err := indexed(tx, id)
			if err != nil {
				return err
			}
			found = append(found, d)
		}
		return nil
	})
	return found, err
}

// Unfinished returns the deployments that have not ended, oldest first.
func (s *Store) Unfinished() ([]agent.Deployment, error) {
	var found []agent.Deployment
	err := s.view(func(tx *bolt.Tx) error {
		b, err := open(tx, bucketUnfinished)
		if err != nil {
			return err
		}
		for key := range ascend(b, nil) {
			d, err := indexed(tx, keyNumber(key))
			if err != nil {
				return err
			}
			found = append(found, d)
		}
		return nil
	})
	return found, err
}

// Release returns one release with its snapshot, or ErrNotFound. A release whose
// snapshot was dropped has none and is Partial.
func (s *Store) Release(service string, number int64) (agent.Release, error) {
	var found agent.Release
	err := s.view(func(tx *bolt.Tx) error {
		key := nameNumberKey(service, number)
		rel, ok, err := lookup[agent.Release](tx, bucketReleases, key)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("release %s of %q: %w", agent.ReleaseName(number), service, ErrNotFound)
		}
		found = rel
		found.Snapshot, _, err = lookup[agent.Snapshot](tx, bucketSnapshots, key)
		return err
	})
	return found, err
}

// Releases returns every release of a service without snapshots, newest first.
func (s *Store) Releases(service string) ([]agent.Release, error) {
	var found []agent.Release
	err := s.view(func(tx *bolt.Tx) (err error) {
		found, err = releases(tx, service)
		return err
	})
	return found, err
}

// Quarantine returns what must not deploy by itself, by fingerprint.
func (s *Store) Quarantine(service string) ([]agent.Quarantined, error) {
	return list[agent.Quarantined](s, bucketQuarantine, namePrefix(service))
}

// Quarantined tells whether the fingerprint must not deploy by itself.
func (s *Store) Quarantined(service, fingerprint string) (bool, error) {
	var found bool
	err := s.view(func(tx *bolt.Tx) (err error) {
		_, found, err = lookup[agent.Quarantined](tx, bucketQuarantine, quarantineKey(service, fingerprint))
		return err
	})
	return found, err
}

// Events returns at most limit events after the one numbered after, oldest
// first; limit 0 is no limit.
func (s *Store) Events(after uint64, limit int) ([]agent.Event, error) {
	found := []agent.Event{}
	err := s.view(func(tx *bolt.Tx) error {
		b, err := open(tx, bucketEvents)
		if err != nil || after == math.MaxUint64 {
			return err
		}
		cursor := b.Cursor()
		for key, stored := cursor.Seek(binary.BigEndian.AppendUint64(nil, after+1)); key != nil; key, stored = cursor.Next() {
			if limit > 0 && len(found) == limit {
				return nil
			}
			event, err := decode[agent.Event](bucketEvents, key, stored)
			if err != nil {
				return err
			}
			found = append(found, event)
		}
		return nil
	})
	return found, err
}

// LastEvent returns the number of the newest event, 0 when there was none.
func (s *Store) LastEvent() (uint64, error) {
	var sealed seal
	err := s.view(func(tx *bolt.Tx) (err error) {
		sealed, err = getMeta[seal](tx, keySeal)
		return err
	})
	return sealed.LastEvent, err
}

// identify yields the numbers of the deployments that a filter chooses, newest
// first; its limit is the caller's.
func identify(tx *bolt.Tx, filter agent.HistoryFilter) (iter.Seq[int64], error) {
	bucket, prefix := bucketDeployments, []byte(nil)
	if filter.Service != "" {
		bucket, prefix = bucketByService, namePrefix(filter.Service)
	}
	b, err := open(tx, bucket)
	if err != nil {
		return nil, err
	}
	before := filter.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	return func(yield func(int64) bool) {
		for key := range descend(b, prefix, append(bytes.Clone(prefix), numberKey(before)...)) {
			if !yield(keyNumber(key)) {
				return
			}
		}
	}, nil
}

func deployment(tx *bolt.Tx, id int64) (agent.Deployment, error) {
	d, ok, err := lookup[agent.Deployment](tx, bucketDeployments, numberKey(id))
	if err == nil && !ok {
		err = fmt.Errorf("deployment %d: %w", id, ErrNotFound)
	}
	return d, err
}

// indexed reads a deployment that an index names, so that it must be there.
func indexed(tx *bolt.Tx, id int64) (agent.Deployment, error) {
	d, err := deployment(tx, id)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: deployment %d is missing", ErrDamaged, id)
	}
	return d, err
}

func releases(tx *bolt.Tx, service string) ([]agent.Release, error) {
	b, err := open(tx, bucketReleases)
	if err != nil {
		return nil, err
	}
	found, prefix := []agent.Release{}, namePrefix(service)
	for key, stored := range descend(b, prefix, append(bytes.Clone(prefix), numberKey(-1)...)) {
		rel, err := decode[agent.Release](bucketReleases, key, stored)
		if err != nil {
			return nil, err
		}
		found = append(found, rel)
	}
	return found, nil
}

func list[T any](s *Store, bucket string, prefix []byte) ([]T, error) {
	found := []T{}
	err := s.view(func(tx *bolt.Tx) error {
		b, err := open(tx, bucket)
		if err != nil {
			return err
		}
		for key, stored := range ascend(b, prefix) {
			value, err := decode[T](bucket, key, stored)
			if err != nil {
				return err
			}
			found = append(found, value)
		}
		return nil
	})
	return found, err
}

// ascend yields the records whose key begins with prefix, in order.
func ascend(b *bolt.Bucket, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, stored []byte) bool) {
		cursor := b.Cursor()
		for key, stored := cursor.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, stored = cursor.Next() {
			if !yield(key, stored) {
				return
			}
		}
	}
}

// descend yields the records whose key begins with prefix and is below limit,
// last first.
func descend(b *bolt.Bucket, prefix, limit []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, stored []byte) bool) {
		cursor := b.Cursor()
		step := cursor.Prev
		if key, _ := cursor.Seek(limit); key == nil {
			step = cursor.Last
		}
		for {
			key, stored := step()
			if key == nil || !bytes.HasPrefix(key, prefix) || !yield(key, stored) {
				return
			}
			step = cursor.Prev
		}
	}
}
