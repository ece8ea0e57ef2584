package history

import (
	"errors"
	"testing"

	bolt "go.etcd.io/bbolt"

	"rollback-agent/agent"
)

func TestOutboxIsKept(t *testing.T) {
	s := openTemp(t)
	one, two := agent.Delivery{Key: "deployment/1", Event: agent.Event{Seq: 3}}, agent.Delivery{Key: "deployment/2", Event: agent.Event{Seq: 4}, Sent: 4, Ref: "x"}
	if err := s.PutOutbox(4, []agent.Delivery{two, one}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.PutOutbox(0, nil, []string{"deployment/9", "deployment/1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, told, err := openAt(t, s.Path()).Outbox()
	if err != nil || told != 4 || len(got) != 1 || got[0].Key != two.Key || got[0].Ref != "x" || got[0].Pending() {
		t.Errorf("got %+v, told %d, %v, want the second delivery and 4", got, told, err)
	}
}

func TestOutboxOfAnOlderAgent(t *testing.T) {
	s := openTemp(t)
	record(t, s, agent.Entry{Event: &agent.Event{Service: "web"}})
	err := s.db.Update(func(tx *bolt.Tx) error { // the file as schema 1 had it
		err := errors.Join(tx.DeleteBucket([]byte(bucketOutbox)), putMeta(tx, keyVersion, 1))
		return errors.Join(err, reseal(tx, 1))
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := OpenReadOnly(s.Path()); err == nil {
		t.Error("got no error for a reader, want it to ask for a start of the agent")
	}
	got, told, err := openAt(t, s.Path()).Outbox()
	if err != nil || told != 1 || len(got) != 0 {
		t.Errorf("got %+v, told %d, %v, want nothing to tell of before", got, told, err)
	}
}
