package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rollback-agent/agent"
)

// container answers what the function says.
type container func(ctx context.Context, argv []string) (string, int, error)

func (c container) Exec(ctx context.Context, svc agent.Service, artifact string, argv []string) (string, int, error) {
	if svc.Name != "web" || artifact != "db" {
		return "", 0, fmt.Errorf("asked in %s of %s", artifact, svc.Name)
	}
	return c(ctx, argv)
}

func inside(interval, timeout time.Duration) agent.Service {
	return agent.Service{Name: "web", Health: agent.Health{
		Command: []string{"pg_isready", "-q"}, In: "db", Interval: interval, Timeout: timeout,
	}}
}

func TestCommandInside(t *testing.T) {
	for _, c := range []struct {
		output string
		code   int
		err    error
		passed bool
		detail string
	}{
		{"ready\n", 0, nil, true, "exit code 0: ready"},
		{"no response\n", 2, nil, false, "exit code 2: no response"},
		{"", 0, errors.New("no such container"), false, "no such container"},
	} {
		answers := container(func(_ context.Context, argv []string) (string, int, error) {
			if !slices.Equal(argv, []string{"pg_isready", "-q"}) {
				t.Errorf("got argv %v", argv)
			}
			return c.output, c.code, c.err
		})
		sample, ok := Probes(inside(time.Second, time.Second), answers)[0].Look(t.Context())
		if !ok || sample.Passed != c.passed || sample.Detail != c.detail || sample.Gate != "command" {
			t.Errorf("got %+v, %v, want passed %v: %s", sample, ok, c.passed, c.detail)
		}
	}
}

// An engine that cannot be asked says nothing about the service.
func TestUnreachableIsNoSample(t *testing.T) {
	dead := container(func(context.Context, []string) (string, int, error) {
		return "", 0, fmt.Errorf("asking the engine: %w", agent.ErrUnreachable)
	})
	if sample, ok := Probes(inside(time.Second, time.Second), dead)[0].Look(t.Context()); ok {
		t.Errorf("got %+v, want no sample", sample)
	}
	sample, ok := Probes(inside(time.Second, time.Second), nil)[0].Look(t.Context())
	if !ok || sample.Passed {
		t.Errorf("got %+v, %v, want a failure where nothing can run inside", sample, ok)
	}
}

func TestRunLooksAtOnceAndThenEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		quick := container(func(context.Context, []string) (string, int, error) { return "", 0, nil })
		ctx, cancel := context.WithDeadlineCause(t.Context(), began.Add(7*time.Second), errors.New("over"))
		defer cancel()
		var at []time.Duration
		Run(ctx, inside(2*time.Second, time.Second), quick, func(s agent.Sample) { at = append(at, s.At.Sub(began)) })
		if want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("got looks at %v, want %v", at, want)
		}
		if got := time.Since(began); got != 7*time.Second {
			t.Errorf("got the end after %s, want it with the context", got)
		}
	})
}

func TestRunOfAHangingProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		hangs := container(func(ctx context.Context, _ []string) (string, int, error) {
			<-ctx.Done()
			return "", 0, ctx.Err()
		})
		ctx, cancel := context.WithDeadlineCause(t.Context(), began.Add(12*time.Second), errors.New("over"))
		defer cancel()
		var details []string
		Run(ctx, inside(2*time.Second, 5*time.Second), hangs, func(s agent.Sample) {
			details = append(details, fmt.Sprint(s.At.Sub(began), " ", s.Took, " ", s.Detail))
		})
		// The third look is cut by the end, which says nothing about the service.
		if want := []string{"5s 5s no answer within 5s", "10s 5s no answer within 5s"}; !slices.Equal(details, want) {
			t.Errorf("got %q, want %q", details, want)
		}
	})
}

func TestRunWithoutProbesWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(time.Hour), errors.New("over"))
		defer cancel()
		Run(ctx, agent.Service{}, nil, func(s agent.Sample) { t.Errorf("got %+v, want nothing", s) })
		if ctx.Err() == nil {
			t.Error("got an early end, want it with the context")
		}
	})
}

// A probe that hangs delays no other one.
func TestRunKeepsProbesApart(t *testing.T) {
	listener := listen(t)
	svc := inside(10*time.Millisecond, time.Hour)
	svc.Health.TCP = listener.Addr().String()
	hangs := container(func(ctx context.Context, _ []string) (string, int, error) {
		<-ctx.Done()
		return "", 0, ctx.Err()
	})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("got too few samples"))
	defer cancel()
	seen := 0
	Run(ctx, svc, hangs, func(s agent.Sample) {
		if s.Gate != "tcp" || !s.Passed {
			t.Errorf("got %+v, want the port alone", s)
		}
		if seen++; seen == 3 {
			cancel()
		}
	})
	if seen != 3 {
		t.Errorf("got %d samples, want 3", seen)
	}
}
