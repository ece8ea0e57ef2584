package control

import (
	"encoding/json"
	"net/http"
	"time"

	"rollback-agent/agent"
)

// stream writes its own answer.
type stream func(w http.ResponseWriter, r *http.Request)

// getEvents answers with one event a line. With last the newest are chosen
// (last=0: none of those there are), with after all beyond a number. With follow
// it goes on until the peer goes, or the agent stops.
func (s *Server) getEvents(r *http.Request) (any, error) {
	query := r.URL.Query()
	after, err := number(query.Get("after"), 0)
	if err != nil {
		return nil, fault(http.StatusBadRequest, "after: %w", err)
	}
	limit, err := pageSize(query.Get("limit"))
	if err != nil {
		return nil, err
	}
	if query.Has("last") {
		if after, err = s.beforeLast(query.Get("last")); err != nil {
			return nil, err
		}
		limit = MaxPage
	}
	follow := query.Get("follow")
	if follow != "" && follow != "1" {
		return nil, fault(http.StatusBadRequest, "follow: want 1, got %q", follow)
	}
	return stream(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		s.stream(w, r, uint64(after), limit, follow == "1")
	}), nil
}

// beforeLast returns the number after which the newest n events begin.
func (s *Server) beforeLast(text string) (int64, error) {
	n, err := number(text, 0)
	if err != nil || n > MaxPage {
		return 0, fault(http.StatusBadRequest, "last: %q is not within 0 and %d", text, MaxPage)
	}
	last, err := s.backend.LastEvent()
	return max(0, int64(last)-n), err
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, after uint64, limit int, follow bool) {
	control := http.NewResponseController(w)
	// The server's read timeout would end a follower that has nothing more to say.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		s.log.Warn("events were not sent", "error", err)
		return
	}
	for {
		changed := s.backend.Changed() // before the look, so that nothing falls between
		events, err := s.backend.Events(after, limit)
		if err == nil {
			err = writeEvents(control, w, events)
		}
		if err != nil {
			s.log.Warn("events were not sent", "after", after, "error", err)
			return
		}
		if len(events) > 0 {
			after = events[len(events)-1].Seq
		}
		switch {
		case !follow:
			return
		case len(events) == limit:
			continue
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-s.stopping:
			return
		}
	}
}

// writeEvents writes and flushes; the time to write begins anew each time.
func writeEvents(control *http.ResponseController, w http.ResponseWriter, events []agent.Event) error {
	if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	encoder := json.NewEncoder(w)
	for _, event := range events {
		if err := encoder.Encode(event); err != nil {
			return err
		}
	}
	return control.Flush()
}
