package hostile_test

import (
	"sync"
	"sync/atomic"
)

func init() { roles["none"] = burn }

// burn never speaks to the server: it takes the CPU that nobody else wants, as
// the other attackers do. What it costs the witness is the machine's doing.
func burn(c *cue) (any, error) {
	var over atomic.Bool
	var burning sync.WaitGroup
	for range c.N {
		burning.Go(func() {
			for !over.Load() {
			}
		})
	}
	c.ready()
	for range c.said { // until the end
	}
	over.Store(true)
	burning.Wait()
	return facts{}, nil
}
