package watch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// content is what a file holds, as a short text that differs when it differs:
// a hash, or why there is none.
func content(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "absent"
	case err != nil:
		return "unreadable: " + err.Error()
	case info.IsDir():
		return names(path)
	case !info.Mode().IsRegular():
		return "special: " + info.Mode().Type().String() // a pipe would block
	}
	return hash(path)
}

func hash(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "unreadable: " + err.Error()
	}
	return hex.EncodeToString(h.Sum(nil))
}

// names hashes the names in a directory, not what they hold.
func names(path string) string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	h := sha256.New()
	for _, entry := range entries {
		io.WriteString(h, entry.Name()+"\x00")
	}
	return "directory " + hex.EncodeToString(h.Sum(nil))
}
