package config

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"

	"rollback-agent/agent"
)

// trust knows who may write the files that decide what runs on this host:
// whoever can write them is root here.
type trust struct {
	accounts
	admins  map[uint32]bool // may write the config
	writers map[uint32]bool // may write compose files: admins, and group docker
}

func newTrust() *trust {
	return newTrustOf(readAccounts("/etc/passwd", "/etc/group"), uint32(os.Geteuid()))
}

// newTrustOf trusts root, group docker and, where the agent does not run as
// root, the user who tries it out.
func newTrustOf(a accounts, self uint32) *trust {
	t := &trust{accounts: a, admins: map[uint32]bool{0: true, self: true}}
	t.writers = maps.Clone(t.admins)
	for gid, name := range t.groups {
		if name != "docker" {
			continue
		}
		for _, uid := range t.members[gid] {
			t.writers[uid] = true
		}
	}
	return t
}

// with returns a trust that lets these users write compose files, too.
func (t *trust) with(names []string) (*trust, error) {
	if len(names) == 0 {
		return t, nil
	}
	wider := *t
	wider.writers = maps.Clone(t.writers)
	var unknown []string
	for _, name := range names {
		uid, ok := t.users[name]
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		wider.writers[uid] = true
	}
	if len(unknown) > 0 {
		return &wider, agent.WithHint(fmt.Errorf("there is no user %s", quoted(unknown)), "name users of /etc/passwd, or their numbers")
	}
	return &wider, nil
}

// config says why the file at path must not configure the agent.
func (t *trust) config(path string) []error {
	problems := t.each(path, t.admins, "run: chown root %s")
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o020 != 0 && len(problems) == 0 {
		problems = append(problems, agent.WithHint(fmt.Errorf("%s is writable by its group", path), "run: chmod g-w "+path))
	}
	return problems
}

// compose says why the file at path must not be deployed from.
func (t *trust) compose(path string) []error {
	return t.each(path, t.writers, "name the user in trust_owner, or run: chown root %s")
}

// each looks at the file, the directory that holds its name, and where that is a
// link, at the link's owner and the directory of what it points to.
func (t *trust) each(path string, trusted map[uint32]bool, mend string) []error {
	inspected := []string{path, filepath.Dir(path)}
	if resolved, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(resolved) != filepath.Dir(path) {
		inspected = append(inspected, filepath.Dir(resolved))
	}
	var problems []error
	for _, name := range inspected {
		if err := t.writable(name, trusted, mend); err != nil {
			problems = append(problems, err)
		}
	}
	if link, err := os.Lstat(path); err == nil && link.Mode().Type() == fs.ModeSymlink {
		if stat, ok := link.Sys().(*syscall.Stat_t); ok && !trusted[stat.Uid] {
			problems = append(problems, agent.WithHint(fmt.Errorf("link %s belongs to %s", path, t.name(stat.Uid)), "run: chown -h root "+path))
		}
	}
	return problems
}

// writable says who but the trusted can write a file or directory. What is not
// there is reported elsewhere. mend is a hint with a verb for the path.
func (t *trust) writable(path string, trusted map[uint32]bool, mend string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	// In a sticky directory only the owner of a file may replace it.
	mode, sticky := info.Mode().Perm(), info.IsDir() && info.Mode()&fs.ModeSticky != 0
	switch {
	case !trusted[stat.Uid]:
		return agent.WithHint(fmt.Errorf("%s belongs to %s", path, t.name(stat.Uid)), fmt.Sprintf(mend, path))
	case mode&0o002 != 0 && !sticky:
		return agent.WithHint(fmt.Errorf("%s is writable by everybody", path), "run: chmod o-w "+path)
	case mode&0o020 != 0 && !sticky && !t.trustsGroup(stat.Gid, trusted):
		return agent.WithHint(fmt.Errorf("%s is writable by group %s", path, t.group(stat.Gid)), "run: chmod g-w "+path)
	}
	return nil
}

// trustsGroup tells whether every member of a group is trusted. Of a group that
// is not listed nobody knows the members.
func (t *trust) trustsGroup(gid uint32, trusted map[uint32]bool) bool {
	if gid == 0 {
		return true
	}
	if _, listed := t.groups[gid]; !listed {
		return false
	}
	for _, uid := range t.members[gid] {
		if !trusted[uid] {
			return false
		}
	}
	return true
}
