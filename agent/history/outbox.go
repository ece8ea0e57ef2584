package history

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"rollback-agent/agent"
)

// Outbox returns every delivery, by key, and the number of the newest event that
// the outbox was filled with.
func (s *Store) Outbox() (deliveries []agent.Delivery, told uint64, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		sealed, err := getMeta[seal](tx, keySeal)
		if err != nil {
			return err
		}
		told = sealed.Told
		b, err := open(tx, bucketOutbox)
		if err != nil {
			return err
		}
		for key, stored := range ascend(b, nil) {
			d, err := decode[agent.Delivery](bucketOutbox, key, stored)
			if err != nil {
				return err
			}
			deliveries = append(deliveries, d)
		}
		return nil
	})
	return deliveries, told, err
}

// PutOutbox writes deliveries, drops those of the given keys, and notes that the
// outbox was filled with the events up to told, in one transaction. Nobody who
// waits for Changed is woken: it is no news.
func (s *Store) PutOutbox(told uint64, put []agent.Delivery, drop []string) error {
	err := s.update(func(w *writer) error {
		w.seal.Told = max(w.seal.Told, told)
		for _, d := range put {
			if err := w.put(bucketOutbox, []byte(d.Key), d); err != nil {
				return err
			}
		}
		for _, key := range drop {
			if err := w.delete(bucketOutbox, []byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the outbox: %w", err)
	}
	return nil
}
