package targettest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"rollback-agent/agent"
)

// Method names a method of target.Target.
type Method string

// The methods of a target.
const (
	MethodDescribe Method = "Describe"
	MethodCheck    Method = "Check"
	MethodDesired  Method = "Desired"
	MethodRunning  Method = "Running"
	MethodLocal    Method = "Local"
	MethodFetch    Method = "Fetch"
	MethodApply    Method = "Apply"
	MethodObserve  Method = "Observe"
	MethodDiagnose Method = "Diagnose"
	MethodExec     Method = "Exec"
	MethodRetain   Method = "Retain"
)

// Fake is a target in memory. Its instances really start, turn healthy, crash
// and are restarted, in the time of the caller: inside a synctest bubble that is
// the bubble's time. It is safe for concurrent use.
//
// A service is known by its name. What nobody scripted is healthy.
type Fake struct {
	mu       sync.Mutex
	wanted   map[string]agent.Wanted // "" is every service without its own
	wantErr  map[string]error
	services map[string]*world
	behave   map[string]Behaviour
	local    map[string]string // digest → image ID: what is on this host
	tags     map[string]string // reference → digest, on this host
	gone     map[string]bool   // digests that no source has any more
	kept     map[string]map[string]bool
	script   map[Method][]step
	calls    map[Method]int
	takes    map[Method]time.Duration
	lost     bool
	serial   int
	exec     func(service, artifact string, argv []string) (string, int, error)
}

// step is what one call of a method does instead of its work.
type step struct {
	err  error
	hang bool
	half bool // of Apply: after the first artifact
}

// NewFake returns a fake on which nothing runs.
func NewFake() *Fake {
	return &Fake{
		wanted:   map[string]agent.Wanted{},
		wantErr:  map[string]error{},
		services: map[string]*world{},
		behave:   map[string]Behaviour{},
		local:    map[string]string{},
		tags:     map[string]string{},
		gone:     map[string]bool{},
		kept:     map[string]map[string]bool{},
		script:   map[Method][]step{},
		calls:    map[Method]int{},
		takes:    map[Method]time.Duration{},
	}
}

// SetWanted makes w what Desired returns, for every service without its own.
// Artifacts may carry their digest: Desired hands them out as they are.
func (f *Fake) SetWanted(w agent.Wanted) { f.SetWantedOf("", w) }

// SetWantedOf makes w what Desired returns for one service, and lifts an error.
func (f *Fake) SetWantedOf(service string, w agent.Wanted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted[service] = w
	delete(f.wantErr, service)
}

// BreakWanted makes Desired fail for one service ("": all) until the next
// SetWanted, as broken files do. The files known so far are still returned.
func (f *Fake) BreakWanted(service string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wantErr[service] = err
}

// Behave scripts what instances do that run a digest, or are run with a config
// hash. A config hash wins.
func (f *Fake) Behave(digestOrConfigHash string, b Behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave[digestOrConfigHash] = b
}

// Fail makes the next n calls of a method return err; n < 0 is all of them.
func (f *Fake) Fail(m Method, n int, err error) { f.add(m, n, step{err: err}) }

// Hang makes the next n calls of a method block until their context ends.
func (f *Fake) Hang(m Method, n int) { f.add(m, n, step{hang: true}) }

// FailHalfway makes the next n Applies change the first artifact only and then
// return err, as an Apply does that was killed.
func (f *Fake) FailHalfway(n int, err error) { f.add(MethodApply, n, step{err: err, half: true}) }

// Mend takes back what Fail, Hang and FailHalfway scripted for a method.
func (f *Fake) Mend(m Method) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.script, m)
}

// Takes makes every call of a method last that long.
func (f *Fake) Takes(m Method, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takes[m] = d
}

// Calls returns how often a method was called.
func (f *Fake) Calls(m Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[m]
}

// OnExec scripts Exec. Without it every command prints nothing and exits 0.
func (f *Fake) OnExec(do func(service, artifact string, argv []string) (string, int, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exec = do
}

// SetLocal puts an image on this host, under the name ref.
func (f *Fake) SetLocal(ref, digest string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[ref] = digest
	f.local[digest] = imageID(digest)
}

// Withdraw removes digests from their source; what is on this host stays.
func (f *Fake) Withdraw(digests ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range digests {
		f.gone[d] = true
	}
}

// Forget removes digests from this host, as `image prune -a` does.
func (f *Fake) Forget(digests ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range digests {
		delete(f.local, d)
	}
}

// Here tells whether a digest is on this host.
func (f *Fake) Here(digest string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.local[digest]
	return ok
}

// Disconnect makes the engine unreachable: every call fails with
// agent.ErrUnreachable, observers are told that facts are lost.
func (f *Fake) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = true
	for _, w := range f.services {
		w.send(agent.Observation{At: time.Now(), Kind: agent.ObservedLost, Detail: "the engine does not answer"})
	}
}

// Reconnect brings the engine back; observers get a snapshot.
func (f *Fake) Reconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = false
	for _, w := range f.services {
		w.snapshot()
	}
}

func (f *Fake) add(m Method, n int, s step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n < 0 {
		n = 1 << 16
	}
	f.script[m] = append(f.script[m], slices.Repeat([]step{s}, n)...)
}

// enter counts a call and does what was scripted for it.
func (f *Fake) enter(ctx context.Context, m Method) (step, error) {
	f.mu.Lock()
	f.calls[m]++
	var s step
	if queue := f.script[m]; len(queue) > 0 {
		s, f.script[m] = queue[0], queue[1:]
	}
	takes := f.takes[m]
	f.mu.Unlock()

	if s.hang {
		<-ctx.Done()
		return s, context.Cause(ctx)
	}
	if err := pause(ctx, takes); err != nil {
		return s, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost && m != MethodDescribe && m != MethodCheck && m != MethodDesired && m != MethodObserve {
		return s, fmt.Errorf("asking the fake engine: %w", agent.ErrUnreachable)
	}
	if s.half {
		return s, nil
	}
	return s, s.err
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func imageID(digest string) string { return "image:" + digest }
