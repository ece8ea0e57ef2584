package daemon

import (
	"maps"
	"slices"
	"testing"
	"time"

	"rollback-agent/agent"
)

// A trouble that was recorded and not told yet when the process ended is told by the
// next one, which must know that its end is to be told, too.
func TestTroublesGoOnAfterARestart(t *testing.T) {
	d := quietDaemon(t)
	trouble := func(subject string, told bool) agent.Delivery {
		return agent.Delivery{Key: "trouble/" + subject, Told: told, Event: agent.Event{Seq: 1, Kind: agent.EventTrouble, Subject: subject}}
	}
	told, refused, ended := trouble("told", true), trouble("refused", false), trouble("ended", true)
	told.Sent, refused.Refused, ended.Event.Kind = 1, "invalid_blocks", agent.EventMended
	if err := d.store.PutOutbox(0, []agent.Delivery{told, trouble("waiting", false), refused, ended}, nil); err != nil {
		t.Fatal(err)
	}
	for range eventPage {
		d.tell("web", agent.ReasonDown, "down", agent.SeverityWarning)
	}
	for _, e := range []agent.Event{
		{Kind: agent.EventTrouble, Subject: "new"},
		{Kind: agent.EventTrouble, Subject: "over"},
		{Kind: agent.EventMended, Subject: "over"},
	} {
		e.At = time.Now()
		d.record(e)
	}
	got, want := slices.Sorted(maps.Keys(d.openTroubles())), []string{"new", "told", "waiting"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !d.wasTold("new") || d.wasTold("over") {
		t.Error("got a trouble wrong, want one to go on and one to be over")
	}
}
