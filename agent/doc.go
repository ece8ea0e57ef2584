// Package agent holds the words that every other package speaks: services,
// releases, deployments, observations, verdicts and the reasons for them.
//
// Its one promise: values only. It imports the standard library, does no I/O,
// reads no clock and starts no goroutine, so that any stage of the line
// watch → plan → deploy → judge → record → notify can be tested with literals.
package agent
