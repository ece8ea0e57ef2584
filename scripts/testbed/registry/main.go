// Command registry serves a real container registry on loopback until it gets
// SIGTERM. Its first line of output is its address.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"rollback-agent/agent/testbed"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "where to listen; port 0 is a free one")
	flag.Parse()
	if err := serve(*addr); err != nil {
		fmt.Fprintf(os.Stderr, "registry: %v\n", err)
		os.Exit(1)
	}
}

func serve(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	registry, err := testbed.StartRegistry(testbed.RegistryOptions{Addr: addr})
	if err != nil {
		return err
	}
	fmt.Println(registry.Host)
	<-ctx.Done()
	return registry.Close()
}
