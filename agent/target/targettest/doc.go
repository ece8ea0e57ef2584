// Package targettest settles what the methods of target.Target mean: [Run] is
// the contract suite that every kind of target passes, and [Fake] is a target in
// memory that passes it too.
//
// Its one promise: a target that breaks the contract in a way that could lose a
// service (repeats work, changes what serves outside Apply, forgets kept
// releases, hides an exit) fails the suite; five seeded broken fakes prove it.
//
// It does not start engines or registries; a kind's own tests bring those
// through [Harness].
package targettest
