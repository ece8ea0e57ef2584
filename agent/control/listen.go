package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"rollback-agent/agent"
)

// Group may use the socket. Its members can do what root can do.
const Group = "rollback-agent"

// listen takes the path for a new socket. A socket that nobody answers on is
// left over from a crash and goes; anything else stays and is an error.
func listen(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on socket %s: %w", path, err)
	}
	if err := share(path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at socket path %s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return agent.WithHint(fmt.Errorf("socket path %s exists and is no socket", path), "move it away, or set another socket path")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return agent.WithHint(fmt.Errorf("socket path %s in use by a live agent", path), "stop it with `systemctl stop rollback-agent`, or set another socket path")
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("asking who is behind socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the left-over socket: %w", err)
	}
	return nil
}

// share lets the group in, where it exists; without it the socket is for its
// owner and root.
func share(path string) error {
	if err := os.Chmod(path, 0o660); err != nil {
		return fmt.Errorf("setting the mode of the socket: %w", err)
	}
	group, err := user.LookupGroup(Group)
	if err != nil {
		return nil //nolint:nilerr // a host without our packages has no such group
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return fmt.Errorf("reading the number of group %s: %w", Group, err)
	}
	if err := os.Lchown(path, -1, gid); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("giving the socket to group %s: %w", Group, err)
	}
	return nil
}

type actorKey struct{}

// withActor remembers who is on the other end of a connection, as the kernel
// knows it.
func withActor(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, actorKey{}, peer(conn))
}

func actor(ctx context.Context) string {
	name, _ := ctx.Value(actorKey{}).(string)
	if name == "" {
		return unknownActor
	}
	return name
}

const unknownActor = "uid unknown"

// peer returns "uid 1000 (alice)".
func peer(conn net.Conn) string {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return unknownActor
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return unknownActor
	}
	var cred *syscall.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if controlErr != nil || err != nil {
		return unknownActor
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if account, err := user.LookupId(uid); err == nil {
		return fmt.Sprintf("uid %s (%s)", uid, account.Username)
	}
	return "uid " + uid
}
