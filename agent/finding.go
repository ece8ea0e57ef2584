package agent

// Finding is what one look at the world found out: an engine that answers, an
// image that its registry knows, a directory that can be written.
type Finding struct {
	Kind    string `json:"kind"` // what was looked at: "docker", "registry", …
	Name    string `json:"name"` // which one
	OK      bool   `json:"ok"`
	Warning bool   `json:"warning"` // deserves a word, stops nothing
	Detail  string `json:"detail"`  // lower case, no stop
	Hint    string `json:"hint,omitempty"`
	TookMS  int64  `json:"took_ms"`
}
