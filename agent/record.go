package agent

import "time"

// ServiceRecord is what the store remembers of one service beside its
// deployments and releases.
type ServiceRecord struct {
	Name      string      `json:"name"`
	Adopted   bool        `json:"adopted"`            // the agent has seen the service before
	Wanted    string      `json:"wanted"`             // fingerprint of the last recorded wanted
	Declined  int64       `json:"declined,omitempty"` // the deployment in which Wanted failed, or a human left it; 0: none
	Seen      string      `json:"seen,omitempty"`     // fingerprint that waits for its delay
	SeenAt    time.Time   `json:"seen_at,omitzero"`   // since when
	Serving   int64       `json:"serving"`            // release that served when last recorded; 0: none
	Last      int64       `json:"last"`               // highest release number ever given
	Drift     bool        `json:"drift,omitempty"`    // adopted as it was, not as the files describe
	Idle      bool        `json:"idle,omitempty"`     // a human stopped it
	Pause     *Pause      `json:"pause,omitempty"`
	Rollbacks []time.Time `json:"rollbacks,omitempty"` // automatic ones, for the storm brake, newest last
	Critical  bool        `json:"critical,omitempty"`  // a rollback failed and health has not returned
	// Irreversible is the newest release that was applied and cannot be undone: nothing
	// goes back behind it but by a human's word. 0: none.
	Irreversible int64  `json:"irreversible,omitempty"`
	Invalid      string `json:"invalid,omitempty"` // why what is wanted cannot be loaded, as it was told

	Overrides map[string]Override `json:"overrides,omitempty"` // by artifact
}

// Override is what a human wants an artifact to run instead of what the file
// names, until the file names something else.
type Override struct {
	Ref     string    `json:"ref"`
	FileRef string    `json:"file_ref"` // what the file named then
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// Pause holds back the automation of a service. Deployments under way end.
type Pause struct {
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // zero: until resume
	By     string    `json:"by"`
	Reason Reason    `json:"reason"`
	Note   string    `json:"note,omitempty"`
}

// Active tells whether the pause still holds.
func (p *Pause) Active(now time.Time) bool {
	return p != nil && (p.Until.IsZero() || now.Before(p.Until))
}

// Quarantined is a fingerprint that was rolled back. It does not deploy by
// itself until a human retries it.
type Quarantined struct {
	Service     string     `json:"service"`
	Fingerprint string     `json:"fingerprint"`
	At          time.Time  `json:"at"`
	Deployment  int64      `json:"deployment"`
	Release     int64      `json:"release"`
	Reason      Reason     `json:"reason"`
	By          string     `json:"by"`
	Artifacts   []Artifact `json:"artifacts"`
}

// Entry is everything that one step writes, in one transaction: all of it is on
// disk, or none of it. Nil and empty fields leave what is stored.
type Entry struct {
	Service    *ServiceRecord
	Deployment *Deployment // ID 0 is replaced by the next number
	Releases   []Release   // Number must be set; Snapshot is stored when it has data
	Quarantine []Quarantined
	Release    []string // fingerprints of Service to take out of quarantine
	Event      *Event   // Seq is given by the store
}

// Event is one thing that happened, in the order of the store.
type Event struct {
	Seq        uint64    `json:"seq"`
	At         time.Time `json:"at"`
	Kind       EventKind `json:"kind"`
	Service    string    `json:"service,omitempty"`
	Deployment int64     `json:"deployment,omitempty"`
	From       State     `json:"from,omitempty"`
	To         State     `json:"to,omitempty"`
	Reason     Reason    `json:"reason,omitempty"`
	Message    string    `json:"message,omitempty"`
	Hint       string    `json:"hint,omitempty"` // what a human may do
	Severity   Severity  `json:"severity"`
	// Subject is what a trouble is about: "registry ghcr.io", "config". It begins
	// with [EventTrouble] and is over with [EventMended].
	Subject string `json:"subject,omitempty"`
}

// EventKind says what an event is about.
type EventKind string

// The kinds of events.
const (
	EventTransition EventKind = "transition" // a deployment moved from From to To
	EventSkipped    EventKind = "skipped"    // something is wanted and is not deployed
	EventInvalid    EventKind = "invalid"    // the files of a service cannot be loaded
	EventValid      EventKind = "valid"      // they can again
	EventPaused     EventKind = "paused"
	EventResumed    EventKind = "resumed"
	EventRecovered  EventKind = "recovered" // healthy again after a failed rollback
	EventAgent      EventKind = "agent"     // about the agent itself
	EventTrouble    EventKind = "trouble"   // something that the agent needs does not work
	EventMended     EventKind = "mended"    // it works again
	EventOverride   EventKind = "override"  // a human's image takes the place of the file's, or gives it back
)

// Severity says how loud an event is.
type Severity string

// The severities.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityError    Severity = "error"
	SeverityCritical Severity = "critical"
)
