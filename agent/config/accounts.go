package config

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// accounts are the users and groups of this host. Package os/user cannot list
// the members of a group, so the two files are read as they are.
type accounts struct {
	users   map[string]uint32
	names   map[uint32]string
	groups  map[uint32]string
	members map[uint32][]uint32 // of a group, primary members included
}

// readAccounts takes what it can get: a host without the files has no names.
func readAccounts(passwd, group string) accounts {
	a := accounts{users: map[string]uint32{}, names: map[uint32]string{}, groups: map[uint32]string{}, members: map[uint32][]uint32{}}
	for _, field := range records(passwd, 4) {
		uid, uidErr := id(field[2])
		gid, gidErr := id(field[3])
		if uidErr != nil || gidErr != nil {
			continue
		}
		a.users[field[0]], a.users[field[2]] = uid, uid
		a.members[gid] = append(a.members[gid], uid)
		if _, known := a.names[uid]; !known {
			a.names[uid] = field[0]
		}
	}
	for _, field := range records(group, 4) {
		gid, err := id(field[2])
		if err != nil {
			continue
		}
		a.groups[gid] = field[0]
		for name := range strings.SplitSeq(field[3], ",") {
			if uid, known := a.users[name]; known {
				a.members[gid] = append(a.members[gid], uid)
			}
		}
	}
	return a
}

// records splits a file such as /etc/passwd into lines of at least n fields.
func records(path string, n int) [][]string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var list [][]string
	for line := range strings.Lines(string(data)) {
		if field := strings.Split(strings.TrimSpace(line), ":"); len(field) >= n && !strings.HasPrefix(line, "#") {
			list = append(list, field)
		}
	}
	return list
}

func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

func (a accounts) name(uid uint32) string {
	if name, ok := a.names[uid]; ok {
		return "user " + name
	}
	return fmt.Sprintf("user %d", uid)
}

func (a accounts) group(gid uint32) string {
	if name, ok := a.groups[gid]; ok {
		return name
	}
	return strconv.Itoa(int(gid))
}
