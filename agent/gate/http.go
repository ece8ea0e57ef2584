package gate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollback-agent/agent"
)

const (
	maxBody  = 64 << 10 // bytes of an answer that are looked at
	maxShown = 120      // characters of an answer that are shown
)

// anySuccess is what counts as health when the config says nothing.
var anySuccess = []agent.StatusRange{{From: 200, To: 299}}

func askHTTP(ctx context.Context, h agent.Health) answer {
	began := time.Now()
	transport, err := transportFor(h)
	if err != nil {
		return answer{detail: err.Error()}
	}
	defer transport.CloseIdleConnections()
	request, err := requestFor(ctx, h)
	if err != nil {
		return answer{detail: err.Error()}
	}
	// Not a client: that would follow redirects and put the URL into its errors.
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{detail: explain(ctx, err)}
	}
	defer response.Body.Close()
	return judgeAnswer(ctx, h, response, began)
}

func transportFor(h agent.Health) (*http.Transport, error) {
	settings := &tls.Config{ServerName: h.TLS.ServerName, InsecureSkipVerify: h.TLS.SkipVerify}
	if h.TLS.CAFile != "" {
		pem, err := os.ReadFile(h.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading ca_file: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s holds no certificate", h.TLS.CAFile)
		}
	}
	return &http.Transport{
		Proxy:                  nil, // the service itself is asked, whatever the environment says
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxBody,
		TLSClientConfig:        settings,
	}, nil
}

func requestFor(ctx context.Context, h agent.Health) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		return nil, errors.New("health_url is not a URL") // err would print it
	}
	request.Header.Set("User-Agent", "rollback-agent")
	for name, value := range h.Headers {
		request.Header.Set(name, value.Reveal())
		if strings.EqualFold(name, "Host") {
			request.Host = value.Reveal()
		}
	}
	return request, nil
}

func judgeAnswer(ctx context.Context, h agent.Health, response *http.Response, began time.Time) answer {
	want := h.Status
	if len(want) == 0 {
		want = anySuccess
	}
	code := response.StatusCode
	switch {
	case !slices.ContainsFunc(want, func(r agent.StatusRange) bool { return r.From <= code && code <= r.To }):
		return answer{detail: unwanted(response, want)}
	case h.Body == "":
		return answer{passed: true, detail: fmt.Sprintf("HTTP %d in %s", code, took(began))}
	}
	body, found, err := search(response.Body, []byte(h.Body))
	switch {
	case found:
		return answer{passed: true, detail: fmt.Sprintf("HTTP %d with %q in %s", code, h.Body, took(began))}
	case err != nil:
		return answer{detail: fmt.Sprintf("HTTP %d, then %s", code, explain(ctx, err))}
	}
	return answer{detail: withText(fmt.Sprintf("HTTP %d, but no %q in the answer", code, h.Body), body)}
}

// unwanted describes an answer with the wrong status.
func unwanted(response *http.Response, want []agent.StatusRange) string {
	detail := fmt.Sprintf("HTTP %d, want %s", response.StatusCode, ranges(want))
	if location := response.Header.Get("Location"); location != "" {
		return withText(detail+", redirects are not followed", []byte(location))
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 4*maxShown)) // what came is shown
	return withText(detail, body)
}

// search reads until the text is found, so that an answer that never ends may
// pass, and gives up after 64 KiB.
func search(from io.Reader, text []byte) (body []byte, found bool, err error) {
	from = io.LimitReader(from, maxBody)
	chunk := make([]byte, 4<<10)
	for {
		n, err := from.Read(chunk)
		body = append(body, chunk[:n]...)
		// What was searched before is searched again only where the text may cross.
		if bytes.Contains(body[max(0, len(body)-n-len(text)):], text) {
			return body, true, nil
		}
		if errors.Is(err, io.EOF) {
			return body, false, nil
		}
		if err != nil {
			return body, false, err
		}
	}
}

// ranges prints what is wanted: "200–299 or 304".
func ranges(list []agent.StatusRange) string {
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = strconv.Itoa(r.From)
		if r.To != r.From {
			words[i] += "–" + strconv.Itoa(r.To)
		}
	}
	return strings.Join(words, " or ")
}

func took(began time.Time) time.Duration { return time.Since(began).Round(time.Millisecond) }
