// Command slack stands in for a Slack workspace on loopback until it gets
// SIGTERM. Its first lines of output say where it is, as key=value: webhook_url,
// api_url, bot_token, channel. What people would read goes to files.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"rollback-agent/agent/testbed"
)

func main() {
	var opts testbed.SlackOptions
	flag.StringVar(&opts.Addr, "addr", "127.0.0.1:0", "where to listen; port 0 is a free one")
	flag.StringVar(&opts.Channel, "channel", "deploys", "name of the channel")
	text := flag.String("text", "", "file that gets every message and edit as people see it")
	events := flag.String("json", "", "file that gets one JSON object for every message and edit")
	flag.Parse()
	if err := serve(opts, *text, *events); err != nil {
		fmt.Fprintf(os.Stderr, "slack: %v\n", err)
		os.Exit(1)
	}
}

func serve(opts testbed.SlackOptions, text, events string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	people, err := appending(text)
	if err != nil {
		return err
	}
	defer people.Close()
	programs, err := appending(events)
	if err != nil {
		return err
	}
	defer programs.Close()

	opts.On = func(event testbed.SlackEvent) {
		_, err := fmt.Fprintf(people, "--- %s %s\n%s\n", event.At.Format("15:04:05.000"), event.Kind, event.Shown)
		if err = errors.Join(err, json.NewEncoder(programs).Encode(event)); err != nil {
			fmt.Fprintf(os.Stderr, "slack: recording an event: %v\n", err)
		}
	}
	slack, err := testbed.StartSlack(opts)
	if err != nil {
		return err
	}
	fmt.Printf("webhook_url=%s\napi_url=%s\nbot_token=%s\nchannel=%s\n",
		slack.WebhookURL(), slack.APIURL(), slack.Options().Token, testbed.SlackChannelID)
	<-ctx.Done()
	return slack.Close()
}

// appending opens a file to add to. No name is a file that forgets.
func appending(name string) (io.WriteCloser, error) {
	file, err := os.OpenFile(cmp.Or(name, os.DevNull), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the record: %w", err)
	}
	return file, nil
}
