package agent

// Secret is a value that never prints itself. Its JSON form is the plain text,
// because what is recorded (mode 0600) must be able to act again after a restart.
type Secret string

const redacted = "•••"

// String returns "•••", or "" when there is nothing to hide.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from printing the value.
func (s Secret) GoString() string { return s.String() }

// Reveal returns the plain text, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }
