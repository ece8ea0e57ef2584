package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollback-agent/agent"
	"rollback-agent/agent/config"
	"rollback-agent/agent/gate"
	"rollback-agent/agent/target/compose"
)

// healthPaths are where programs say how they are, the usual ones first.
var healthPaths = []string{"/health", "/healthz", "/health/live", "/-/healthy", "/api/health", "/status", "/"}

// tryTime is how long something that listens may take to answer while a config
// is proposed.
const tryTime = 2 * time.Second

// maxDoors is how many ports of one project are looked at.
const maxDoors = 12

// Ports by what usually listens there, inside the container.
var (
	webPorts  = []int{80, 8080, 3000, 8000, 5000, 443, 8443, 8081, 4000, 8888, 9000, 9090, 5173, 4200}
	tlsPorts  = []int{443, 8443, 9443}
	mutePorts = []int{22, 25, 53, 389, 465, 587, 636, 1433, 1521, 1883, 2181, 3306, 4222, 5432, 5433, 5672, 6379, 6432, 7687, 9042, 9092, 11211, 26379, 27017}
)

// door is a port of the host that leads to a compose service, and what was found
// behind it.
type door struct {
	part   compose.Part
	port   compose.Port
	url    string // that answers 200–299, or would be worth trying
	passed bool   // url was asked, and answered so
	open   bool   // something listens
	status int    // of an HTTP answer to /; 0: no HTTP
	any    bool   // every path answers 200–299
	sick   string // an earlier URL that answered 500–599: it exists, and may know more
}

// proposeHealth writes the health of a section: of what answers, the likeliest is
// active, and everything else is a comment.
func proposeHealth(ctx context.Context, o compose.Outline, section *config.Section) {
	for _, part := range o.Parts {
		if checked(part) {
			section.Beside = append(section.Beside, part.Name+" has a HEALTHCHECK: no probe is needed")
		}
	}
	doors := doorsOf(o)
	if len(doors) > maxDoors {
		section.Below = append(section.Below, fmt.Sprintf("%d more ports are published", len(doors)-maxDoors))
		doors = doors[:maxDoors]
	}
	asked := make([]door, 0, len(doors))
	inOrder(ctx, doors, knock, func(d door) { asked = append(asked, d) })
	active := choose(asked)
	for i, d := range asked {
		if i != active {
			section.Below = append(section.Below, d.comments()...)
			continue
		}
		if section.Service.Health.URL = d.url; !d.passed {
			section.Service.Health.URL, section.Service.Health.TCP = "", d.address()
		}
		section.Service.Health.TLS.SkipVerify = d.passed && strings.HasPrefix(d.url, "https:")
		section.Beside = append(section.Beside, d.praise()...)
	}
	section.Below = append(section.Below, blind(o, len(asked))...)
}

func checked(part compose.Part) bool {
	return part.Check == compose.CheckFile || part.Check == compose.CheckImage
}

// doorsOf lists the fixed ports of a project, the likeliest to be its face first.
func doorsOf(o compose.Outline) []door {
	var doors []door
	for _, part := range o.Parts {
		for _, port := range part.Ports {
			if port.Port != 0 && !part.OneShot {
				doors = append(doors, door{part: part, port: port})
			}
		}
	}
	slices.SortStableFunc(doors, func(a, b door) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.port.Port, b.port.Port))
	})
	return slices.CompactFunc(doors, func(a, b door) bool { return a.address() == b.address() })
}

// rank is low for what looks like the face of a project.
func (d door) rank() int {
	rank := 4
	switch {
	case d.port.HTTP:
		rank = 0
	case slices.Contains(webPorts, d.port.Inside):
		rank = 2
	case slices.Contains(mutePorts, d.port.Inside):
		return 8
	}
	for _, word := range []string{"web", "app", "front", "proxy", "nginx", "server", "site"} {
		if strings.Contains(strings.ToLower(d.part.Name), word) {
			return rank
		}
	}
	return rank + 1
}

// choose returns the first door that answers over HTTP, else the first that is
// open and has no HEALTHCHECK behind it, else -1.
func choose(doors []door) int {
	if i := slices.IndexFunc(doors, func(d door) bool { return d.passed }); i >= 0 {
		return i
	}
	return slices.IndexFunc(doors, func(d door) bool { return d.open && !checked(d.part) })
}

// knock asks what is behind a door whose container runs.
func knock(ctx context.Context, d door) door {
	scheme := "http"
	if slices.Contains(tlsPorts, d.port.Inside) {
		scheme = "https"
	}
	d.url = scheme + "://" + d.address() + healthPaths[0]
	if !d.port.Open {
		return d
	}
	if !slices.Contains(mutePorts, d.port.Inside) || d.port.HTTP {
		d.status = d.walk(ctx, scheme)
	}
	d.open = d.status != 0 || listens(ctx, d.address())
	return d
}

// walk tries the paths, and returns the status of the last one asked.
func (d *door) walk(ctx context.Context, scheme string) int {
	base := scheme + "://" + d.address()
	nowhere, err := statusOf(ctx, base+"/"+strings.ToLower(rand.Text()))
	if err != nil {
		return 0
	}
	d.any = isFine(nowhere)
	last := nowhere
	for _, path := range healthPaths {
		code, err := statusOf(ctx, base+path)
		if err != nil {
			return last
		}
		if last = code; isFine(code) {
			d.url, d.passed = base+path, true
			return code
		}
		if code >= 500 && nowhere < 500 && d.sick == "" {
			d.sick = base + path
		}
	}
	return last
}

func isFine(status int) bool { return status >= 200 && status <= 299 }

var errSlow = errors.New("no answer in time")

// statusOf asks once, as the agent's own probe does: no redirect is followed, no
// proxy used.
func statusOf(ctx context.Context, url string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tryTime, errSlow)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("asking %s: %w", url, err)
	}
	request.Header.Set("User-Agent", "rollback-agent")
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, fmt.Errorf("asking %s: %w", url, err)
	}
	return response.StatusCode, response.Body.Close()
}

// listens asks as a health_tcp would.
func listens(ctx context.Context, address string) bool {
	svc := agent.Service{Health: agent.Health{TCP: address, Timeout: tryTime}}
	sample, ok := gate.Probes(svc, nil)[0].Look(ctx)
	return ok && sample.Passed
}

func (d door) address() string { return net.JoinHostPort(d.port.Host, strconv.Itoa(d.port.Port)) }

// praise says what speaks for the door that was chosen.
func (d door) praise() []string {
	path := d.url[strings.Index(d.url, d.address())+len(d.address()):]
	var lines []string
	switch {
	case d.passed && d.any:
		lines = append(lines, fmt.Sprintf("%s answers any path with success, %s too: does it have one that proves more?", d.part.Name, path))
	case d.passed:
		lines = append(lines, fmt.Sprintf("%s answers %s", d.part.Name, path))
	case d.status != 0:
		lines = append(lines, fmt.Sprintf("%s speaks HTTP, and none of %s is answered with 200–299 (the last with %d).", d.part.Name, strings.Join(healthPaths, " "), d.status),
			"Better than the open port: health_url = "+config.Quote(d.url)+" with its own path; health_status names other status codes")
	default:
		lines = append(lines, fmt.Sprintf("%s listens, and speaks no HTTP", d.part.Name))
	}
	if d.passed && d.sick != "" {
		lines = append(lines, config.Others("health_url", d.sick, "says now that it is sick; it may know more than what stands below"))
	}
	if d.passed && strings.HasPrefix(d.url, "https:") {
		lines = append(lines, `its certificate is not looked at; better: health_tls = { ca_file = "…", server_name = "…" }`)
	}
	return lines
}

// comments propose what was not chosen.
func (d door) comments() []string {
	why := d.part.Name
	switch {
	case d.passed:
		return []string{config.Others("health_url", d.url, why+" answers here, too")}
	case d.open && d.status == 0:
		return []string{config.Others("health_tcp", d.address(), why+" listens here")}
	case slices.Contains(mutePorts, d.port.Inside) && !d.port.HTTP:
		return []string{config.Others("health_tcp", d.address(), why+", nobody looked")}
	case d.status != 0:
		return []string{config.Others("health_url", d.url, fmt.Sprintf("%s answers with %d", why, d.status))}
	case d.port.Open:
		return []string{config.Others("health_url", d.url, why+" does not answer")}
	}
	return []string{config.Others("health_url", d.url, why+" does not run: the path is a guess")}
}

// blind says what kept anybody from proposing more.
func blind(o compose.Outline, doors int) []string {
	var lines []string
	proved := doors > 0
	for _, part := range o.Parts {
		proved = proved || checked(part)
		if part.HostNetwork {
			lines = append(lines, `health_url = "http://localhost:PORT/health"  # `+part.Name+" uses the host's network: its port is not in the file")
		}
		for _, port := range part.Ports {
			if port.Port == 0 {
				lines = append(lines, fmt.Sprintf("port %d of %s is published under a number that changes: publish a fixed one to probe it", port.Inside, part.Name))
			}
		}
	}
	if !proved {
		lines = append(lines, "Nothing here proves health: with a HEALTHCHECK or a probe the agent notices more than exits")
	}
	return lines
}
