package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"rollback-agent/agent"
)

func (s *Server) getVersion(*http.Request) (any, error) {
	return Version{s.version}, nil
}

func (s *Server) getStatus(r *http.Request) (any, error) {
	all, err := s.backend.Status(r.Context())
	return listOf(all), err
}

func (s *Server) getNotices(r *http.Request) (any, error) {
	all, err := s.backend.Notices(r.Context())
	return listOf(all), err
}

func (s *Server) getPlan(r *http.Request) (any, error) {
	all, err := s.backend.Status(r.Context())
	if err != nil {
		return nil, err
	}
	service, plans := r.URL.Query().Get("service"), []Plan{}
	for _, status := range all {
		if service == "" || service == status.Service {
			plans = append(plans, Plan{status.Service, status.Plan})
		}
	}
	if service != "" && len(plans) == 0 {
		return nil, fault(http.StatusNotFound, "there is no service %q", service)
	}
	return plans, nil
}

func (s *Server) getDeployments(r *http.Request) (any, error) {
	query := r.URL.Query()
	before, err := number(query.Get("before"), 0)
	if err != nil {
		return nil, fault(http.StatusBadRequest, "before: %w", err)
	}
	limit, err := pageSize(query.Get("limit"))
	if err != nil {
		return nil, err
	}
	all, err := s.backend.Deployments(agent.HistoryFilter{Service: query.Get("service"), Before: before, Limit: limit})
	if err != nil {
		return nil, err
	}
	now, page := time.Now(), make([]Deployment, len(all))
	for i, d := range all {
		page[i] = Outgoing(d, now)
	}
	return page, nil
}

func (s *Server) getDeployment(r *http.Request) (any, error) {
	id, err := number(r.PathValue("id"), 0)
	if err != nil {
		return nil, fault(http.StatusBadRequest, "deployment: %w", err)
	}
	d, err := s.backend.Deployment(id)
	return Outgoing(d, time.Now()), err
}

func (s *Server) getRelease(r *http.Request) (any, error) {
	n, err := number(r.PathValue("n"), 0)
	if err != nil {
		return nil, fault(http.StatusBadRequest, "release: %w", err)
	}
	rel, err := s.backend.Release(r.PathValue("service"), n)
	rel.Snapshot, rel.Secrets = agent.Snapshot{}, nil
	return rel, err
}

func (s *Server) postOrder(r *http.Request) (any, error) {
	order, err := decodeOrder(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	order.Actor = actor(r.Context())
	s.log.Info("order received", "verb", order.Verb, "service", order.Service, "deployment", order.Deployment, "actor", order.Actor)
	receipt, err := s.backend.Order(r.Context(), order)
	if err != nil && status(err) == http.StatusInternalServerError {
		err = requestError{err, http.StatusUnprocessableEntity}
	}
	return receipt, err
}

// maxImages is how many overrides one order may hold.
const maxImages = 100

// maxNote is how long the human's words may be, in bytes.
const maxNote = 1000

// decodeOrder reads exactly one order that makes sense. An actor in it does not
// count.
func decodeOrder(body io.Reader) (agent.Order, error) {
	var order agent.Order
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&order); err != nil {
		return agent.Order{}, fault(http.StatusBadRequest, "reading the order: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return agent.Order{}, fault(http.StatusBadRequest, "reading the order: there is something after it")
	}
	order.Actor = ""
	if err := checkOrder(order); err != nil {
		return agent.Order{}, fault(http.StatusBadRequest, "order: %w", err)
	}
	return order, nil
}

func checkOrder(o agent.Order) error {
	verbs := []agent.Verb{
		agent.VerbDeploy, agent.VerbRollback, agent.VerbRetry, agent.VerbCancel, agent.VerbKeep, agent.VerbPause, agent.VerbResume,
	}
	ofDeployment := o.Verb == agent.VerbCancel || o.Verb == agent.VerbKeep
	switch {
	case !slices.Contains(verbs, o.Verb):
		return fmt.Errorf("unknown verb %q", o.Verb)
	case o.Deployment < 0 || o.Release < 0 || o.For < 0:
		return errors.New("numbers and durations must not be negative")
	case o.Service == "" && (!ofDeployment || o.Deployment == 0):
		return errors.New("no service is named")
	case o.Verb != agent.VerbDeploy && (len(o.Images) > 0 || o.NoOverride || o.Irreversible):
		return errors.New("images, no_override and irreversible belong to deploy")
	case len(o.Images) > maxImages:
		return fmt.Errorf("more than %d images", maxImages)
	case len(o.Note) > maxNote || !utf8.ValidString(o.Note):
		return fmt.Errorf("the note has more than %d bytes, or is no text", maxNote)
	}
	return nil
}

// number reads a number that is not negative.
func number(text string, missing int64) (int64, error) {
	if text == "" {
		return missing, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

func pageSize(text string) (int, error) {
	n, err := number(text, DefaultPage)
	if err != nil || n < 1 || n > MaxPage {
		return 0, fault(http.StatusBadRequest, "limit: %q is not within 1 and %d", text, MaxPage)
	}
	return int(n), nil
}
