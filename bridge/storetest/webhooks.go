package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

var webhookTests = []test{
	{"Begin", webhookBegin},
	{"BeginTwice", webhookBeginTwice},
	{"Pages", webhookPages},
	{"Save", webhookSave},
	{"Deleted", webhookDeleted},
	{"Trimmed", webhookTrimmed},
	{"Race", webhookRace},
}

func (e *env) beginWebhooks() (first bool) {
	e.Helper()
	now := e.tick()
	e.ok(again(func() (err error) {
		first, err = e.s.BeginWebhooks(e.ctx, now)
		return err
	}), "begin webhooks")
	return first
}

// behind asks page by page who is behind, in the order of streams.
func (e *env) behind(limit int) []bridge.WebhookPlace {
	e.Helper()
	all := []bridge.WebhookPlace{}
	for after, calls := uint64(0), 0; ; calls++ {
		page, next, err := e.s.WebhookBehind(e.ctx, after, limit)
		e.ok(err, "webhook behind")
		if len(page) > limit {
			e.Errorf("%d streams on a page of %d", len(page), limit)
		}
		all = append(all, page...)
		if next == 0 {
			break
		}
		if next <= after || calls > lots {
			e.Fatalf("the page after %d ends at %d", after, next)
		}
		after = next
	}
	slices.SortFunc(all, func(a, b bridge.WebhookPlace) int { return cmp.Compare(a.Stream, b.Stream) })
	return all
}

func (e *env) savePlaces(places ...bridge.Cursor) {
	e.Helper()
	e.ok(again(func() error { return e.s.SaveWebhookPlaces(e.ctx, places) }), "save webhook places")
}

func (e *env) wantPlaces(want map[chat.StreamID]uint64, why string) {
	e.Helper()
	var streams []chat.StreamID
	for stream := range want {
		streams = append(streams, stream)
	}
	places, err := e.s.WebhookPlaces(e.ctx, streams)
	e.ok(err, "webhook places")
	got := make(map[chat.StreamID]uint64)
	for i, stream := range streams {
		got[stream] = places[i]
	}
	equal(e, got, want, "%s", why)
}

// webhookBegin: what stands when webhooks begin is not told; what comes later
// is, of conversations that begin later from their first entry. It begins
// once.
func webhookBegin(e *env) {
	equal(e, e.behind(10), []bridge.WebhookPlace{}, "in an empty database")
	e.fill("old", 10)
	e.create("quiet") // its join alone
	if !e.beginWebhooks() {
		e.Errorf("the first time was not the first")
	}
	equal(e, e.behind(10), []bridge.WebhookPlace{}, "when webhooks begin")
	e.wantPlaces(map[chat.StreamID]uint64{"c/old": 10, "c/quiet": 1, "c/new": 0}, "when webhooks begin")

	e.send("old", alice, message("x"))
	e.create("new")
	behind := []bridge.WebhookPlace{{Stream: "c/new", Seq: 0, Head: 1}, {Stream: "c/old", Seq: 10, Head: 11}}
	equal(e, e.behind(10), behind, "when something came")
	if e.beginWebhooks() {
		e.Errorf("the second time was the first")
	}
	equal(e, e.behind(10), behind, "after webhooks began again")
	e.reopen()
	if e.beginWebhooks() {
		e.Errorf("the first time of another process was the first")
	}
	equal(e, e.behind(10), behind, "in another process")
}

// webhookBeginTwice: of two that begin at the same time one is the first.
func webhookBeginTwice(e *env) {
	e.fill("c", 5)
	var firsts [2]bool
	var errs [2]error
	var wg sync.WaitGroup
	for i, s := range e.stores() {
		wg.Go(func() {
			errs[i] = again(func() (err error) {
				firsts[i], err = s.BeginWebhooks(e.ctx, e.tick())
				return err
			})
		})
	}
	wg.Wait()
	if errs != [2]error{} || firsts[0] == firsts[1] {
		e.Errorf("two began: %v, %v", firsts, errs)
	}
	e.wantPlaces(map[chat.StreamID]uint64{"c/c": 5}, "two began")
}

// webhookPages: pages of any size find all who are behind, and those alone.
func webhookPages(e *env) {
	want := []bridge.WebhookPlace{}
	for i := range 12 {
		id := fmt.Sprintf("c%02d", i)
		stream := chat.ConversationStream(id)
		e.fill(id, 5)
		switch i % 4 {
		case 0: // told to its end
			e.savePlaces(bridge.Cursor{Stream: stream, Seq: 5})
		case 1:
			e.savePlaces(bridge.Cursor{Stream: stream, Seq: 3})
			want = append(want, bridge.WebhookPlace{Stream: stream, Seq: 3, Head: 5})
		default:
			want = append(want, bridge.WebhookPlace{Stream: stream, Head: 5})
		}
	}
	for _, limit := range []int{1, 2, 5, 12, 100} {
		equal(e, e.behind(limit), want, "pages of %d", limit)
	}
}

// webhookSave: places are raised, never lowered, never beyond the head, and
// never made for what does not exist.
func webhookSave(e *env) {
	e.fill("a", 9)
	e.fill("b", 9)
	e.savePlaces()
	e.savePlaces(bridge.Cursor{Stream: "c/a", Seq: 4}, bridge.Cursor{Stream: "c/b", Seq: 9}, bridge.Cursor{Stream: "c/none", Seq: 1})
	e.wantPlaces(map[chat.StreamID]uint64{"c/a": 4, "c/b": 9, "c/none": 0}, "saved")
	e.savePlaces(bridge.Cursor{Stream: "c/a", Seq: 3}, bridge.Cursor{Stream: "c/b", Seq: 10})
	e.wantPlaces(map[chat.StreamID]uint64{"c/a": 4, "c/b": 9}, "saved lower and beyond the head")
	e.savePlaces(bridge.Cursor{Stream: "c/a", Seq: maxSeq + 1})
	e.wantPlaces(map[chat.StreamID]uint64{"c/a": 4}, "saved far beyond")
	e.savePlaces(bridge.Cursor{Stream: "c/a", Seq: 5})
	e.reopen()
	e.wantPlaces(map[chat.StreamID]uint64{"c/a": 5, "c/b": 9}, "in another process")
	places, err := e.s.WebhookPlaces(e.ctx, nil)
	if err != nil || len(places) != 0 {
		e.Errorf("the places of nothing: %v, %v", places, err)
	}
}

// webhookDeleted: a place goes with its conversation, and another of the same
// name is told from its first entry.
func webhookDeleted(e *env) {
	e.fill("c", 9)
	e.savePlaces(bridge.Cursor{Stream: "c/c", Seq: 9})
	e.ok(again(func() error { return e.s.DeleteConversation(e.ctx, serverAdmin, "c") }), "delete")
	equal(e, e.behind(10), []bridge.WebhookPlace{}, "after it was deleted")
	e.wantPlaces(map[chat.StreamID]uint64{"c/c": 0}, "after it was deleted")
	e.create("c")
	e.savePlaces(bridge.Cursor{Stream: "c/c", Seq: 9}) // of the one that was deleted
	equal(e, e.behind(10), []bridge.WebhookPlace{{Stream: "c/c", Seq: 0, Head: 1}}, "after it was made again")
}

// webhookTrimmed: what is not held any more is not to be told.
func webhookTrimmed(e *env) {
	e.fill("c", 9)
	e.savePlaces(bridge.Cursor{Stream: "c/c", Seq: 4})
	e.trim(e.tick(), keepNewest(6), "c", lots)
	equal(e, e.behind(10), []bridge.WebhookPlace{{Stream: "c/c", Seq: 4, Head: 9}}, "what was told is gone")
	e.trim(e.tick(), keepNewest(2), "c", lots)
	equal(e, e.behind(10), []bridge.WebhookPlace{{Stream: "c/c", Seq: 7, Head: 9}}, "what was not told is gone")
	e.trim(e.tick().Add(1e6*time.Second), bridge.RetentionPolicy{Conversations: bridge.Retention{Age: time.Second}}, "c", lots)
	equal(e, e.behind(10), []bridge.WebhookPlace{}, "all is gone")
}

// webhookRace: places may be saved by two at once, also of what is deleted
// meanwhile.
func webhookRace(e *env) {
	for i := range 10 {
		e.fill(fmt.Sprint("c", i), 20)
	}
	stores := e.stores()
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for i, s := range stores {
		wg.Go(func() {
			for seq := range uint64(20) {
				var places []bridge.Cursor
				for k := range 10 {
					if i == 1 {
						k = 9 - k
					}
					places = append(places, bridge.Cursor{Stream: chat.StreamID(fmt.Sprint("c/c", k)), Seq: seq + 1})
				}
				if err := again(func() error { return s.SaveWebhookPlaces(context.WithoutCancel(e.ctx), places) }); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 5 {
			if err := again(func() error { return e.s.DeleteConversation(e.ctx, serverAdmin, fmt.Sprint("c", i)) }); err != nil {
				errs <- err
			}
		}
	})
	wg.Wait()
	close(errs)
	for err := range errs {
		e.Errorf("%v", err)
	}
	equal(e, e.behind(10), []bridge.WebhookPlace{}, "all is told")
}
