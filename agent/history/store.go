// Package history remembers, in one bbolt file, everything the agent must know
// after a crash: deployments, releases with their snapshots, the quarantine and
// the events.
//
// Its one promise: what Record returned is on disk, whole, and nothing else is.
// A file that cannot be trusted is never read as an empty one: it is moved aside
// and the caller is told. It does not decide anything about what it remembers.
//
// The file, schema 2. Numbers in keys are 8 bytes big endian, NAME ends with a
// zero byte, and every value is a CRC-32C of bucket, key and JSON, then the JSON:
//
//	history.db
//	├── meta
//	│   ├── version → 2
//	│   └── seal → {records, sum, last_deployment, last_event, told}
//	├── services     NAME             → ServiceRecord
//	├── deployments  ID               → Deployment
//	├── by_service   NAME ID          → null   index of deployments
//	├── unfinished   ID               → null   index of those not ended
//	├── releases     NAME NUMBER      → Release
//	├── snapshots    NAME NUMBER      → Snapshot
//	├── quarantine   NAME FINGERPRINT → Quarantined
//	├── events       SEQ              → Event
//	└── outbox       KEY              → Delivery
//
// The seal counts every record outside meta and adds up their checksums, so
// that a record that is missing, old or altered is noticed when the file is
// opened. bbolt itself checks nothing but its two meta pages and dies, rather
// than fails, on a damaged tree; pages.go therefore looks before bbolt does.
package history

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What a caller may branch on.
var (
	// ErrNotFound is wrapped when a deployment or release is not in the store.
	ErrNotFound = errors.New("not in the history")
	// ErrInUse is wrapped when another process holds the store.
	ErrInUse = errors.New("database in use")
	// ErrDamaged is wrapped when the store cannot be trusted.
	ErrDamaged = errors.New("history is damaged")
	// ErrNewer is wrapped when a newer agent wrote the store.
	ErrNewer = errors.New("history was written by a newer agent")
)

// DefaultLockTimeout is how long Open waits for another process to let go.
const DefaultLockTimeout = time.Second

// Options of a store. The zero value is good.
type Options struct {
	LockTimeout time.Duration // 0: DefaultLockTimeout
	Logger      *slog.Logger  // nil: silent
}

func (o Options) withDefaults() Options {
	if o.LockTimeout <= 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store is an open history. It is safe for concurrent use; readers never wait
// for the disk writes of a Record.
type Store struct {
	db      *bolt.DB
	path    string
	damaged string

	mu      sync.Mutex
	changed chan struct{}
}

func newStore(db *bolt.DB, path string) *Store {
	return &Store{db: db, path: path, changed: make(chan struct{})}
}

// Path is the file of the store.
func (s *Store) Path() string { return s.path }

// Damaged returns the path to which a damaged predecessor was moved when the
// store was opened, or "". When it is set, the quarantine is lost.
func (s *Store) Damaged() string { return s.damaged }

// Changed returns a channel that is closed after the next Record. Take it
// before reading, so that nothing is missed in between.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close lets go of the file. It waits for readers and writers under way.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing history %s: %w", s.path, err)
	}
	return nil
}

func (s *Store) view(do func(*bolt.Tx) error) error {
	return guarded(func() error { return s.db.View(do) })
}

// guarded turns the panics and page faults that bbolt answers to a failing disk
// with into an error.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return do()
}
