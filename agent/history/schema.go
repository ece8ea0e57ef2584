package history

import (
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// schema is the version of the layout that is drawn at the top of the package.
const schema = 2

const (
	keyVersion = "version"
	keySeal    = "seal"
)

// seal stands for the records as a whole, and numbers the next ones. bbolt's own
// sequences are not used: nothing protects them.
type seal struct {
	Records        int64  `json:"records"`
	Sum            uint64 `json:"sum"` // of the checksums of all records
	LastDeployment int64  `json:"last_deployment"`
	LastEvent      uint64 `json:"last_event"`
	Told           uint64 `json:"told"` // the newest event that the outbox was filled with
}

// A migration takes the file from one version to the next.
type migration func(*bolt.Tx) error

// migrations lists the steps from version 1 on: the first makes version 2.
func migrations() []migration { return []migration{addOutbox} }

// addOutbox makes room for messages. What happened before is told to nobody.
func addOutbox(tx *bolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists([]byte(bucketOutbox)); err != nil {
		return fmt.Errorf("creating bucket %s: %w", bucketOutbox, err)
	}
	sealed, err := getMeta[seal](tx, keySeal)
	if err != nil {
		return err
	}
	sealed.Told = sealed.LastEvent
	return putMeta(tx, keySeal, sealed)
}

// initialise makes the layout in an empty file.
func initialise(tx *bolt.Tx) error {
	for _, name := range append(sealedBuckets(schema), bucketMeta) {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return fmt.Errorf("creating bucket %s: %w", name, err)
		}
	}
	if err := putMeta(tx, keySeal, seal{}); err != nil {
		return err
	}
	return putMeta(tx, keyVersion, schema)
}

func putMeta(tx *bolt.Tx, key string, value any) error {
	b, err := open(tx, bucketMeta)
	if err != nil {
		return err
	}
	stored, err := encode(bucketMeta, []byte(key), value)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), stored)
}

func getMeta[T any](tx *bolt.Tx, key string) (T, error) {
	value, ok, err := lookup[T](tx, bucketMeta, []byte(key))
	if err == nil && !ok {
		err = fmt.Errorf("%w: no %s", ErrDamaged, key)
	}
	return value, err
}

// prepare checks every record of a store that was opened for writing, and
// brings it to this binary's version.
func (s *Store) prepare(options Options, steps []migration) error {
	newest := 1 + len(steps)
	var version int
	err := s.view(func(tx *bolt.Tx) (err error) {
		if version, err = getMeta[int](tx, keyVersion); err != nil {
			return err
		}
		if version > newest {
			return fmt.Errorf("%w: schema %d, this one knows %d", ErrNewer, version, newest)
		}
		return checkSeal(tx, version)
	})
	if err != nil || version == newest {
		return err
	}
	options.Logger.Info("history is migrated", "path", s.path, "from", version, "to", newest)
	return s.migrate(version, steps)
}

// migrate keeps a copy of the file, then takes all steps in one transaction.
func (s *Store) migrate(version int, steps []migration) error {
	backup := fmt.Sprintf("%s.v%d", s.path, version)
	if err := copyFile(s.path, backup); err != nil {
		return fmt.Errorf("copying history to %s: %w", backup, err)
	}
	return guarded(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			for _, step := range steps[version-1:] {
				if err := step(tx); err != nil {
					return fmt.Errorf("migrating from schema %d: %w", version, err)
				}
				version++
			}
			return errors.Join(putMeta(tx, keyVersion, version), reseal(tx, version))
		})
	})
}

// checkSeal reads every record and compares what it finds with the seal.
func checkSeal(tx *bolt.Tx, version int) error {
	want, err := getMeta[seal](tx, keySeal)
	if err != nil {
		return err
	}
	got, err := counted(tx, version, want)
	if err == nil && got != want {
		err = fmt.Errorf("%w: %d records of %d, or other ones", ErrDamaged, got.Records, want.Records)
	}
	return err
}

// reseal writes the seal anew, after a migration.
func reseal(tx *bolt.Tx, version int) error {
	old, err := getMeta[seal](tx, keySeal)
	if err != nil {
		return err
	}
	fresh, err := counted(tx, version, old)
	if err != nil {
		return err
	}
	return putMeta(tx, keySeal, fresh)
}

// counted is the seal of the records that there are.
func counted(tx *bolt.Tx, version int, old seal) (seal, error) {
	fresh := old
	fresh.Records, fresh.Sum = 0, 0
	for _, bucket := range sealedBuckets(version) {
		if err := fresh.add(tx, bucket); err != nil {
			return seal{}, err
		}
	}
	return fresh, nil
}

func (s *seal) add(tx *bolt.Tx, bucket string) error {
	b, err := open(tx, bucket)
	if err != nil {
		return err
	}
	return b.ForEach(func(key, stored []byte) error {
		payload, err := unseal(bucket, key, stored)
		if err != nil {
			return err
		}
		s.Records++
		s.Sum += uint64(checksum(bucket, key, payload))
		return nil
	})
}

// checkCount is the short check of a reader: its records are checked one by one
// as they are read.
func (s *Store) checkCount(keys int64) error {
	const ofMeta = 2
	return s.view(func(tx *bolt.Tx) error {
		version, err := getMeta[int](tx, keyVersion)
		switch {
		case err != nil:
			return err
		case version > schema:
			return fmt.Errorf("%w: schema %d, this one knows %d", ErrNewer, version, schema)
		case version < schema:
			return fmt.Errorf("history has schema %d, this agent reads %d: start the agent once", version, schema)
		}
		sealed, err := getMeta[seal](tx, keySeal)
		if err == nil && sealed.Records+ofMeta != keys {
			err = fmt.Errorf("%w: %d records of %d", ErrDamaged, keys-ofMeta, sealed.Records)
		}
		return err
	})
}

// copyFile copies the store before anything else may write to it.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Sync(), target.Close())
}
