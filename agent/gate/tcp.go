package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// settleTime is how long an accepted connection must stay. Docker's port proxy
// accepts for a container that does not listen, and closes when it notices.
const settleTime = 200 * time.Millisecond

func askTCP(ctx context.Context, address string) answer {
	began := time.Now()
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return answer{detail: explain(ctx, err)}
	}
	connected := took(began)
	defer connection.Close()
	if err := connection.SetReadDeadline(time.Now().Add(settleTime)); err != nil {
		return answer{detail: explain(ctx, err)}
	}
	_, err = connection.Read(make([]byte, 1))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return answer{passed: true, detail: fmt.Sprintf("connected in %s", connected)}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return answer{detail: "accepted and closed at once, as by a port proxy without a listener behind it"}
	}
	return answer{detail: explain(ctx, err)}
}
