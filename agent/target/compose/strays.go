package compose

import (
	"context"
	"maps"
	"sync"
	"time"
)

// strayTime is how long an engine may go on with a pull that nobody waits for.
const strayTime = time.Minute

// strays are the pulls that ended in an error: an engine may finish one after its
// caller gave up, and the image would be nobody's. They are remembered in memory
// alone; what an engine pulls for an agent that was killed counts as somebody
// else's and stays.
//
// An engine that is cut off between making an image and naming it leaves one
// without any name, as after every `docker pull` that was given up in that
// moment. Nothing tells it from a human's; `docker image prune` takes it.
type strays struct {
	mu    sync.Mutex
	ended map[stray]time.Time
}

type stray struct{ host, ref string }

func (s *strays) add(host, ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = map[stray]time.Time{}
	}
	s.ended[stray{host, ref}] = time.Now()
}

func (s *strays) remove(host, ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ended, stray{host, ref})
}

func (s *strays) all() map[stray]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ended)
}

// claimStrays puts the mark on what did arrive: nobody may need it any more.
func (r retaining) claimStrays(ctx context.Context) error {
	for s, ended := range r.strays.all() {
		if s.host != r.engine.host {
			continue
		}
		image, err := r.engine.image(ctx, s.ref)
		switch {
		case err != nil:
			return err
		case image != nil:
			err = r.engine.tag(ctx, image.ID, pulledMark(s.ref))
		case time.Since(ended) < strayTime:
			continue
		}
		if err != nil {
			return err
		}
		r.strays.remove(s.host, s.ref)
	}
	return nil
}
