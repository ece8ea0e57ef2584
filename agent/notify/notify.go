// Package notify tells people what happened: it reads the events that others
// recorded, chooses what deserves a message, and sends one for each deployment
// and each trouble, in its latest state.
//
// Its one promise: nothing that deserves a message is lost, and nobody waits for
// it. Messages are on disk until they were taken; a medium that is away for an
// hour delays them and nothing else. It decides nothing about deployments and
// knows no medium, only [Sender].
package notify
