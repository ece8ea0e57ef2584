package daemon

import (
	"context"
	"sync"
)

// besides is how many questions are asked at once.
const besides = 8

// inOrder asks about every item, some at a time, and hands the answers over in
// the order of the items, each as soon as those before it are there. take is
// never called concurrently.
func inOrder[T, R any](ctx context.Context, items []T, ask func(context.Context, T) R, take func(R)) {
	answers := make([]chan R, len(items))
	for i := range answers {
		answers[i] = make(chan R, 1)
	}
	room := make(chan struct{}, besides)
	var all sync.WaitGroup
	all.Go(func() {
		for i, item := range items {
			room <- struct{}{}
			all.Go(func() {
				answers[i] <- ask(ctx, item)
				<-room
			})
		}
	})
	for _, answer := range answers {
		take(<-answer)
	}
	all.Wait()
}
