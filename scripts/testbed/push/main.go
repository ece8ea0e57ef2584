// Command push makes an image of the testbed's app, pushes it to a registry and
// prints its digest.
//
//	push -ref 127.0.0.1:5000/app:stable -version v2 -mode crash -env APP_CRASH_AFTER=1s -label demo=1 -check
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"rollback-agent/agent/testbed"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "push: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	var opts []testbed.Option
	ref := flag.String("ref", "", "where to push: HOST/NAME:TAG")
	version := flag.String("version", "", "what the app calls its version; empty is the tag")
	mode := flag.String("mode", string(testbed.Good), "good, crash, sick, slow, oom, hang, flap or job")
	check := flag.Bool("check", false, "give the image a HEALTHCHECK")
	padding := flag.Int("padding", 0, "bytes of a layer that no other image has")
	flag.Func("env", "KEY=VALUE baked into the image; may be repeated", pair(&opts, testbed.Env))
	flag.Func("label", "KEY=VALUE on the image; may be repeated", pair(&opts, testbed.Label))
	flag.Parse()
	if *check {
		opts = append(opts, testbed.Check(time.Second, 0, 3))
	}
	opts = append(opts, testbed.Padding(*padding))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	binary, err := testbed.BuildApp(ctx)
	if err != nil {
		return err
	}
	img := testbed.NewImage(cmp.Or(*version, tag(*ref)), testbed.Mode(*mode), opts...)
	digest, err := testbed.Push(ctx, *ref, binary, img)
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// pair collects KEY=VALUE flags.
func pair(opts *[]testbed.Option, option func(key, value string) testbed.Option) func(string) error {
	return func(text string) error {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("want KEY=VALUE")
		}
		*opts = append(*opts, option(key, value))
		return nil
	}
}

// tag is the tag of a reference.
func tag(ref string) string { return ref[strings.LastIndex(ref, ":")+1:] }
