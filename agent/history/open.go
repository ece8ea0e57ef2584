package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"rollback-agent/agent"
)

// Open opens the store for reading and writing, and makes it when there is
// none. A damaged file is moved aside to PATH.damaged-TIME and a fresh one takes
// its place; see [Store.Damaged]. A file written by a newer agent is not touched.
func Open(path string, options Options) (*Store, error) {
	options = options.withDefaults()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of history %s: %w", path, err)
	}
	store, err := openOrCreate(path, options)
	damage, isDamage := errors.AsType[*moved](err)
	if !isDamage {
		return store, err
	}
	options.Logger.Error("history is damaged", "path", path, "moved_to", damage.to, "error", damage.cause)
	if store, err = openOrCreate(path, options); err != nil {
		return nil, err
	}
	store.damaged = damage.to
	return store, nil
}

// OpenReadOnly opens an existing store for reading beside other readers. It
// fails with ErrInUse while an agent has it open, and never changes a file.
func OpenReadOnly(path string) (*Store, error) {
	var keys int64
	db, err := openFile(path, true, DefaultLockTimeout, func(f *os.File) (err error) {
		keys, err = inspect(f)
		return err
	})
	if err != nil {
		return nil, openError(path, err)
	}
	s := newStore(db, path)
	if err := s.checkCount(keys); err != nil {
		return nil, errors.Join(openError(path, err), s.Close())
	}
	return s, nil
}

// moved says that a damaged store is out of the way.
type moved struct {
	to    string
	cause error
}

func (m *moved) Error() string { return fmt.Sprintf("moved to %s: %v", m.to, m.cause) }

func openOrCreate(path string, options Options) (*Store, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, err
		}
	}
	db, err := openFile(path, false, options.LockTimeout, func(f *os.File) error {
		_, err := inspect(f)
		if errors.Is(err, ErrDamaged) {
			return moveAside(path, err)
		}
		return err
	})
	if err != nil {
		return nil, openError(path, err)
	}
	s := newStore(db, path)
	if err := s.prepare(options, migrations()); err != nil {
		if errors.Is(err, ErrDamaged) {
			err = moveAside(path, err)
		}
		return nil, errors.Join(openError(path, err), s.Close())
	}
	return s, nil
}

// openFile opens and locks the file, lets look check it while nobody else can
// write, and only then lets bbolt read it.
func openFile(path string, readOnly bool, timeout time.Duration, look func(*os.File) error) (db *bolt.DB, err error) {
	err = guarded(func() error {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      timeout,
			ReadOnly:     readOnly,
			PageSize:     pageSize,
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(name string, flag int, _ os.FileMode) (*os.File, error) {
				return openLocked(name, flag&^os.O_CREATE, timeout, look)
			},
		})
		return err
	})
	return db, err
}

func openLocked(path string, flag int, timeout time.Duration, look func(*os.File) error) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	if err = lock(f, flag&os.O_RDWR != 0, timeout); err == nil {
		err = look(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lock takes the lock that bbolt takes once more, for the same open file.
func lock(f *os.File, exclusive bool, timeout time.Duration) error {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	for deadline := time.Now().Add(timeout); ; {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return stillThere(f)
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("locking: %w", err)
		case time.Now().After(deadline):
			return ErrInUse
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stillThere notices that the file was moved aside while its lock was awaited.
func stillThere(f *os.File) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(f.Name())
	if err != nil || !os.SameFile(mine, there) {
		return ErrInUse
	}
	return nil
}

// inspect checks the structure of the file and returns how many keys it has.
func inspect(f *os.File) (keys int64, err error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case !info.Mode().IsRegular():
		return 0, errors.New("not a regular file")
	case info.Size() == 0:
		return 0, fmt.Errorf("%w: file is empty", ErrDamaged)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("mapping: %w", err)
	}
	err = guarded(func() error {
		if keys, err = checkPages(data); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	})
	return keys, errors.Join(err, syscall.Munmap(data))
}

// create makes an empty store in one step: a file that is cut off by a power
// loss never has the name of the store.
func create(path string) (err error) {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(dir, base+".new-*")
	if err != nil {
		return fmt.Errorf("creating history %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if err := f.Close(); err != nil {
		return fmt.Errorf("creating history %s: %w", path, err)
	}
	db, err := bolt.Open(f.Name(), 0o600, &bolt.Options{PageSize: pageSize, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("creating history %s: %w", path, err)
	}
	if err := errors.Join(db.Update(initialise), db.Close()); err != nil {
		return fmt.Errorf("creating history %s: %w", path, err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating history %s: %w", path, err)
	}
	return syncDirectory(dir)
}

// moveAside renames the damaged store while its lock is held. It always
// returns an error; *moved is the good one.
func moveAside(path string, cause error) error {
	to := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	for n := 2; exists(to); n++ {
		to = fmt.Sprintf("%s.damaged-%s-%d", path, time.Now().UTC().Format("20060102T150405Z"), n)
	}
	if err := os.Rename(path, to); err != nil {
		return fmt.Errorf("moving the damaged history aside: %w", err)
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	return &moved{to, cause}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// syncDirectory makes a new or changed name survive a power loss.
func syncDirectory(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return fmt.Errorf("opening directory %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// openError says what went wrong as a sentence, and what can be done.
func openError(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		err = ErrInUse
		fallthrough
	case errors.Is(err, ErrInUse):
		hint = "another agent has it open; see `systemctl status rollback-agent`"
	case errors.Is(err, fs.ErrPermission):
		hint = "run it as root, or as the user rollback-agent"
	case errors.Is(err, fs.ErrNotExist):
		hint = "no agent has run with this state directory yet; see --state-dir"
	case errors.Is(err, ErrNewer):
		hint = "install that version of the agent again; nothing was changed"
	case errors.Is(err, ErrDamaged):
		hint = "the agent moves it aside and begins a new one when it starts"
	}
	return agent.WithHint(fmt.Errorf("opening history %s: %w", path, err), hint)
}
