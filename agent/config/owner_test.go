package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rollback-agent/agent"
)

// hostOf reads the accounts of a host where alice is in group docker, carol has
// it as her primary group, and bob has nothing to do with it.
func hostOf(t *testing.T) accounts {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "passwd"), passwdFile)
	put(t, filepath.Join(dir, "group"), groupFile)
	return readAccounts(filepath.Join(dir, "passwd"), filepath.Join(dir, "group"))
}

const (
	passwdFile = "root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/:\nbob:x:1002:1002::/:\nbroken line\ncarol:x:1003:990::/:\nbad:x:y:z::\n# c:x:1:1:::\n"
	groupFile  = "root:x:0:\nalice:x:1001:\nbob:x:1002:\ndocker:x:990:alice,ghost\nteam:x:2000:alice,bob\nempty:x:2001:\nbad:x:y:\n"
)

func TestWhoIsTrusted(t *testing.T) {
	host := newTrustOf(hostOf(t), 1002)
	for uid, want := range map[uint32]bool{0: true, 1001: true, 1002: true, 1003: true, 1004: false} {
		if host.writers[uid] != want { // 1002 runs the agent
			t.Errorf("uid %d writes compose files: got %v, want %v", uid, host.writers[uid], want)
		}
	}
	for uid, want := range map[uint32]bool{0: true, 1001: false, 1002: true} {
		if host.admins[uid] != want {
			t.Errorf("uid %d writes the config: got %v, want %v", uid, host.admins[uid], want)
		}
	}
}

func TestTrustedGroups(t *testing.T) {
	host := newTrustOf(hostOf(t), 0)
	for gid, want := range map[uint32]bool{0: true, 1001: true, 1002: false, 990: true, 2000: false, 2001: true, 4242: false} {
		if got := host.trustsGroup(gid, host.writers); got != want {
			t.Errorf("group %d: got %v, want %v", gid, got, want)
		}
	}
	wider, err := host.with([]string{"bob"})
	if err != nil || !wider.trustsGroup(2000, wider.writers) || host.writers[1002] {
		t.Errorf("got %v, want bob trusted by the wider one only", err)
	}
}

func TestWritableFiles(t *testing.T) {
	for _, c := range []struct {
		name      string
		file, dir os.FileMode
		want      string
	}{
		{"good", 0o644, 0o755, ""},
		{"file of everybody", 0o646, 0o755, "config.toml: is writable by everybody"},
		{"file of a group", 0o664, 0o755, "config.toml: is writable by "},
		{"directory of everybody", 0o644, 0o757, "is writable by everybody"},
		{"sticky directory of everybody", 0o644, 0o777 | os.ModeSticky, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := install(t, t.TempDir(), "[log]\n")
			chmod(t, path, c.file)
			chmod(t, filepath.Dir(path), c.dir)
			_, faults := Load(path)
			if got := faults.Error(); c.want == "" && got != "" || !strings.Contains(got, c.want) || c.want != "" && faults[0].Hint == "" {
				t.Errorf("got %q, want %q with a hint", got, c.want)
			}
		})
	}
}

func TestComposeFileOfAStranger(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "compose.yml")
	touch(t, file)
	uid := uint32(os.Geteuid())
	host := newTrustOf(accounts{users: map[string]uint32{"me": uid}, names: map[uint32]string{uid: "me"}}, uid)
	delete(host.writers, uid)
	delete(host.writers, 0)

	found := &faults{}
	inspect(file, "compose file", place{}, host, found)
	if got := found.list.Error(); !strings.Contains(got, "compose file "+file+" belongs to user me") || found.list[0].Hint != "name the user in trust_owner, or run: chown root "+file {
		t.Errorf("got %q (%v), want who owns it", got, found.list)
	}
	wider, err := host.with([]string{"me"})
	if err != nil {
		t.Fatal(err)
	}
	found = &faults{}
	inspect(file, "compose file", place{}, wider, found)
	if len(found.list) != 0 {
		t.Errorf("got %v, want none with trust_owner", found.list)
	}
}

func TestComposeFileOfEverybody(t *testing.T) {
	cfg, _ := web(t, "trust_owner = [\"root\"]\n")
	svc := cfg.Services[0]
	chmod(t, svc.Compose.Files[0], 0o666)
	if got := cfg.Check(svc); len(got) != 1 || !strings.Contains(got[0].Message, "is writable by everybody") || got[0].Line != 2 {
		t.Errorf("got %v, want one fault on line 2", got)
	}
}

func TestFurtherFilesOfEverybody(t *testing.T) {
	cfg, _ := web(t, "env_files = []\n")
	svc := cfg.Services[0]
	dir := filepath.Dir(cfg.Path)
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		touch(t, path)
		chmod(t, path, mode)
		return path
	}
	further := []string{
		file(".env", 0o646), file("base.yaml", 0o646), file("labels", 0o646), file("good.env", 0o644),
		file("open/a.env", 0o644), file("open/b.env", 0o644), filepath.Join(dir, "none.env"), dir, os.DevNull,
	}
	chmod(t, filepath.Join(dir, "open"), 0o757)
	var want []string
	for kind, path := range map[string]string{"env file": further[0], "compose file": further[1], "file": further[2], "env file ": filepath.Join(dir, "open")} {
		want = append(want, "config.toml:2: "+strings.TrimSpace(kind)+" "+path+" is writable by everybody | run: chmod o-w "+path)
	}
	got := cfg.CheckFiles(svc, further)
	slices.Sort(want)
	slices.SortFunc(got, func(a, b agent.Fault) int { return strings.Compare(a.Message, b.Message) })
	wantFaults(t, got, want...)
	if got := cfg.Check(svc); len(got) > 0 {
		t.Errorf("got %v, want nothing of what the config does not name", got)
	}
}

// What the config names is looked at once, however many lists it is in.
func TestFilesAreReportedOnce(t *testing.T) {
	cfg, _ := web(t, "")
	svc := cfg.Services[0]
	chmod(t, svc.Compose.Files[0], 0o666)
	if got := cfg.CheckFiles(svc, svc.Compose.Files); len(got) != 1 {
		t.Errorf("got %v, want one fault", got)
	}
}

func TestFurtherFileOfAStranger(t *testing.T) {
	cfg, _ := web(t, "")
	svc := cfg.Services[0]
	file := filepath.Join(filepath.Dir(cfg.Path), ".env")
	touch(t, file)
	uid := uint32(os.Geteuid())
	host := newTrustOf(accounts{users: map[string]uint32{"me": uid}, names: map[uint32]string{uid: "me"}}, uid)
	delete(host.writers, uid)
	delete(host.writers, 0)

	got := cfg.check(svc, host, file)
	got = slices.DeleteFunc(got, func(f agent.Fault) bool { return !strings.Contains(f.Message, "env file") })
	wantFaults(t, got, "config.toml:2: env file "+file+" belongs to user me | name the user in trust_owner, or run: chown root "+file)
	svc.TrustOwner = []string{"me"}
	if got := cfg.check(svc, host, file); len(got) != 0 {
		t.Errorf("got %v, want none with trust_owner", got)
	}
}

func TestLinkToADirectoryOfEverybody(t *testing.T) {
	open := t.TempDir()
	touch(t, filepath.Join(open, "compose.yml"))
	chmod(t, open, 0o777)
	cfg, _ := web(t, "")
	svc := cfg.Services[0]
	link := svc.Compose.Files[0]
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(open, "compose.yml"), link); err != nil {
		t.Fatal(err)
	}
	if got := cfg.Check(svc); len(got) != 1 || !strings.Contains(got[0].Message, open+" is writable by everybody") {
		t.Errorf("got %v, want the directory that the link leads to", got)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
