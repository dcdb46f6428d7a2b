package webhook

import (
	"context"
	"sync"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// maxPlaces bounds the places in memory. Those that are saved may go.
const maxPlaces = 20_000

// places knows how far conversations were told, and saves it.
type places struct {
	store bridge.Webhooks

	mu    sync.Mutex
	m     map[chat.StreamID]place
	dirty int
}

type place struct {
	seq   uint64
	dirty bool // not saved yet
}

func newPlaces(store bridge.Webhooks) *places {
	return &places{store: store, m: make(map[chat.StreamID]place)}
}

// get answers how far a conversation was told.
func (p *places) get(ctx context.Context, stream chat.StreamID) (uint64, error) {
	if seq, known := p.known(stream); known {
		return seq, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	found, err := p.store.WebhookPlaces(ctx, []chat.StreamID{stream})
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(stream, place{seq: found[0]})
	return found[0], nil
}

func (p *places) known(stream chat.StreamID) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.m[stream]
	return at.seq, ok
}

// set notes that a conversation was told up to seq.
func (p *places) set(stream chat.StreamID, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(stream, place{seq: seq, dirty: true})
}

// put replaces a place, and makes room for it. p.mu is held.
func (p *places) put(stream chat.StreamID, at place) {
	if old := p.m[stream]; old.dirty {
		p.dirty--
	}
	if at.dirty {
		p.dirty++
	}
	p.m[stream] = at
	for other, o := range p.m {
		if len(p.m)-p.dirty <= maxPlaces {
			break
		}
		if !o.dirty && other != stream {
			delete(p.m, other)
		}
	}
}

// forget forgets the place of a conversation that was deleted.
func (p *places) forget(stream chat.StreamID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m[stream].dirty {
		p.dirty--
	}
	delete(p.m, stream)
}

// flush saves what is not saved. One runs at a time.
func (p *places) flush(ctx context.Context) error {
	const chunk = 1000
	unsaved := p.unsaved()
	for len(unsaved) > 0 {
		part := unsaved[:min(chunk, len(unsaved))]
		unsaved = unsaved[len(part):]
		one, cancel := context.WithTimeout(ctx, storeTimeout)
		err := again(func() error { return p.store.SaveWebhookPlaces(one, part) })
		cancel()
		if err != nil {
			return err
		}
		p.saved(part)
	}
	return nil
}

func (p *places) unsaved() []bridge.Cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dirty == 0 {
		return nil
	}
	all := make([]bridge.Cursor, 0, p.dirty)
	for stream, at := range p.m {
		if at.dirty {
			all = append(all, bridge.Cursor{Stream: stream, Seq: at.seq})
		}
	}
	return all
}

func (p *places) saved(part []bridge.Cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range part {
		if at := p.m[c.Stream]; at.dirty && at.seq == c.Seq {
			p.put(c.Stream, place{seq: at.seq})
		}
	}
}
