// Command probe asks a URL every few milliseconds, from outside, until it gets
// SIGTERM, and prints every outage as a line of JSON when it is over:
//
//	{"start_ms":1700000000123,"end_ms":1700000000456,"ms":333}
//
// Times are Unix milliseconds of when the first failing and the first good
// request were sent. Every request has a connection of its own and does not wait
// for the one before. An outage that is not over at the end has "open":true.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	url := flag.String("url", "", "what to ask; 2xx is good")
	every := flag.Duration("every", 10*time.Millisecond, "time between two requests")
	timeout := flag.Duration("timeout", time.Second, "time limit of a request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client := &http.Client{Timeout: *timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	report(ask(ctx, client, *url, *every), json.NewEncoder(os.Stdout))
}

// result is the answer to one request.
type result struct {
	sent time.Time
	good bool
}

// ask sends requests and passes their answers on in the order they were sent.
func ask(ctx context.Context, client *http.Client, url string, every time.Duration) <-chan chan result {
	pending := make(chan chan result, 10_000)
	go func() {
		defer close(pending)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				answer := make(chan result, 1)
				pending <- answer
				go func() { answer <- probe(client, url) }()
			}
		}
	}()
	return pending
}

func probe(client *http.Client, url string) result {
	r := result{sent: time.Now()}
	resp, err := client.Get(url)
	if err == nil {
		r.good = resp.StatusCode/100 == 2
		resp.Body.Close()
	}
	return r
}

type outage struct {
	Start int64 `json:"start_ms"`
	End   int64 `json:"end_ms"`
	MS    int64 `json:"ms"`
	Open  bool  `json:"open,omitempty"`
}

func report(pending <-chan chan result, out *json.Encoder) {
	var since, last time.Time
	end := func(at time.Time, open bool) {
		o := outage{since.UnixMilli(), at.UnixMilli(), at.Sub(since).Milliseconds(), open}
		if err := out.Encode(o); err != nil {
			fmt.Fprintf(os.Stderr, "probe: %v\n", err)
		}
		since = time.Time{}
	}
	for answer := range pending {
		r := <-answer
		last = r.sent
		switch {
		case !r.good && since.IsZero():
			since = r.sent
		case r.good && !since.IsZero():
			end(r.sent, false)
		}
	}
	if !since.IsZero() {
		end(last, true)
	}
}
