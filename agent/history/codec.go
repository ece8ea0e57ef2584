package history

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// The buckets of the file.
const (
	bucketMeta        = "meta"
	bucketServices    = "services"
	bucketDeployments = "deployments"
	bucketByService   = "by_service"
	bucketUnfinished  = "unfinished"
	bucketReleases    = "releases"
	bucketSnapshots   = "snapshots"
	bucketQuarantine  = "quarantine"
	bucketEvents      = "events"
	bucketOutbox      = "outbox"
)

// sealedBuckets lists the buckets that the seal of a schema covers.
func sealedBuckets(version int) []string {
	buckets := []string{
		bucketServices, bucketDeployments, bucketByService, bucketUnfinished,
		bucketReleases, bucketSnapshots, bucketQuarantine, bucketEvents,
	}
	if version >= 2 {
		buckets = append(buckets, bucketOutbox)
	}
	return buckets
}

const checksumSize = 4

// checksum covers where a value is stored as well as the value, so that a
// value under a wrong key is no valid record.
func checksum(bucket string, key, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte(bucket))
	sum = crc32.Update(sum, table, key)
	return crc32.Update(sum, table, payload)
}

func encode(bucket string, key []byte, value any) ([]byte, error) {
	payload, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding a record of %s: %w", bucket, err)
	}
	head := make([]byte, 0, checksumSize+len(payload))
	head = binary.BigEndian.AppendUint32(head, checksum(bucket, key, payload))
	return append(head, payload...), nil
}

// unseal returns the JSON of a stored value.
func unseal(bucket string, key, stored []byte) ([]byte, error) {
	if len(stored) <= checksumSize {
		return nil, fmt.Errorf("%w: record %x of %s is cut off", ErrDamaged, key, bucket)
	}
	payload := stored[checksumSize:]
	if binary.BigEndian.Uint32(stored) != checksum(bucket, key, payload) {
		return nil, fmt.Errorf("%w: record %x of %s has a wrong checksum", ErrDamaged, key, bucket)
	}
	return payload, nil
}

func decode[T any](bucket string, key, stored []byte) (T, error) {
	var value T
	payload, err := unseal(bucket, key, stored)
	if err != nil {
		return value, err
	}
	if err := json.Unmarshal(payload, &value); err != nil {
		return value, fmt.Errorf("%w: record %x of %s: %w", ErrDamaged, key, bucket, err)
	}
	return value, nil
}

// lookup reads one record; ok is false when there is none.
func lookup[T any](tx *bolt.Tx, bucket string, key []byte) (value T, ok bool, err error) {
	b, err := open(tx, bucket)
	if err != nil {
		return value, false, err
	}
	stored := b.Get(key)
	if stored == nil {
		return value, false, nil
	}
	value, err = decode[T](bucket, key, stored)
	return value, err == nil, err
}

func open(tx *bolt.Tx, bucket string) (*bolt.Bucket, error) {
	if b := tx.Bucket([]byte(bucket)); b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("%w: bucket %s is missing", ErrDamaged, bucket)
}

// numberKey sorts like the number: r255 before r256.
func numberKey(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n))
}

func keyNumber(key []byte) int64 {
	return int64(binary.BigEndian.Uint64(key[len(key)-8:]))
}

// namePrefix begins the keys of everything that belongs to a service. The zero
// byte keeps "web" from being a prefix of "web2".
func namePrefix(service string) []byte {
	return append([]byte(service), 0)
}

func nameNumberKey(service string, n int64) []byte {
	return append(namePrefix(service), numberKey(n)...)
}

func checkName(service string) error {
	if service == "" || strings.ContainsRune(service, 0) {
		return fmt.Errorf("recording service %q: not a name", service)
	}
	return nil
}
