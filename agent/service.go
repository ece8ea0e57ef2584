package agent

import "time"

// Service is one entry [service.NAME] of the config: the unit that is deployed
// and rolled back as a whole. Its durations are resolved, defaults included.
type Service struct {
	Name   string
	Target string // kind of target: "compose", or the kind of a plugin

	Compose Compose
	Health  Health

	MinHealthyTime   time.Duration // continuous health that proves a release
	HealthDeadline   time.Duration // from the end of Apply; only ever lengthened by a HEALTHCHECK's own budget
	ProgressDeadline time.Duration // applying + health gate of one step
	FetchDeadline    time.Duration
	RollbackDeadline time.Duration
	WatchFor         time.Duration // gates go on after the release was proved
	MaxRestarts      int           // exits tolerated in verify + watch

	OnFailure    Action // ActionRollback, ActionHold or ActionAlert
	HoldFor      time.Duration
	OnHoldExpiry HoldExpiry
	Mode         Mode
	Delay        time.Duration // image or edit must be this old before it deploys
	Debounce     time.Duration // quiet time after the last write to a watched file
	KeepReleases int           // restorable releases kept; two stable ones always are

	BeforeDeploy []string // argv; non-zero exit: failed, nothing changed
	TrustOwner   []string // users who may write the compose file besides root and group docker

	// Overrides are the references that a human wants instead of the files', by
	// artifact. No config sets them: they are recorded with the service.
	Overrides map[string]string `json:",omitempty"`
}

// Compose says where a service of the compose target is described.
// Paths are absolute.
type Compose struct {
	Files            []string // compose files, in override order
	Project          string   // "" takes the name Compose would
	ProjectDirectory string   // "" is the directory of the first file
	EnvFiles         []string // "" is .env beside the project
	Profiles         []string
	Services         []string // the compose services that are the unit; empty: all with an image
	OneShots         []string // compose services whose exit 0 is their success
	DockerHost       string   // "" is unix:///var/run/docker.sock
}

// Health is what a service must show besides running containers and a passing
// HEALTHCHECK. Every probe that is set must pass.
type Health struct {
	URL      string
	Status   []StatusRange // empty: 200–299
	Body     string        // must be contained in the first 64 KiB of the answer
	Headers  map[string]Secret
	TLS      TLS
	TCP      string // host:port
	Command  []string
	In       string // compose service that Command runs in; "": on the host
	Interval time.Duration
	Timeout  time.Duration
}

// StatusRange is an inclusive range of HTTP status codes.
type StatusRange struct{ From, To int }

// TLS tells how an HTTPS health URL is verified.
type TLS struct {
	CAFile     string
	ServerName string
	SkipVerify bool
}

// Mode says whether changes deploy by themselves.
type Mode string

// The modes of a service.
const (
	ModeAuto   Mode = "auto"
	ModeNotify Mode = "notify" // changes are told, a human deploys them
)

// HoldExpiry says what becomes of a held deployment that nobody decides.
type HoldExpiry string

// The ends of an undecided hold.
const (
	HoldExpiryKeep     HoldExpiry = "keep"
	HoldExpiryRollback HoldExpiry = "rollback"
)

// Action is what a failing gate or signal causes.
type Action string

// The actions, from the strongest to the weakest.
const (
	ActionRollback Action = "rollback"
	ActionHold     Action = "hold"
	ActionScale    Action = "scale"
	ActionAlert    Action = "alert"
)

// Gates names the probes that are set: "http", "tcp", "command".
func (h Health) Gates() []string {
	var gates []string
	if h.URL != "" {
		gates = append(gates, "http")
	}
	if h.TCP != "" {
		gates = append(gates, "tcp")
	}
	if len(h.Command) > 0 {
		gates = append(gates, "command")
	}
	return gates
}
