package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// searchModel: the answers are those of a few lines that look at everything.
// Both databases are held to it, so that they answer alike.
func searchModel(e *env) {
	seed := uint64(time.Now().UnixNano())
	e.test.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	users := []string{owner, alice, bob, carol}
	convs := []string{"a", "b", "c"}
	for _, conv := range convs {
		e.create(conv, users[1:]...)
	}
	vocabulary := strings.Fields("Fish fish FISH νους ΝΟΥΣ мой моі 北京 京 ที่ über uber e\u0301t ét x1 1 مُ م हिन्दी ok Ok O'k a-b 👍 . …")
	text := func() string {
		var b strings.Builder
		b.WriteString("t ")
		for range 1 + rng.IntN(4) {
			b.WriteString(vocabulary[rng.IntN(len(vocabulary))])
			b.WriteString([]string{" ", "", ", ", "\n"}[rng.IntN(4)])
		}
		return b.String()
	}
	said := map[string]chat.Entry{} // what stands, by its place
	for range 300 {
		conv, user := convs[rng.IntN(len(convs))], users[rng.IntN(len(users))]
		target := uint64(1 + rng.IntN(80))
		at := fmt.Sprintf("%s/%d", conv, target)
		body := message(text())
		switch rng.IntN(6) {
		case 0:
			body = edit(target, text())
		case 1:
			body = erase(target)
		case 2:
			if rng.IntN(8) == 0 {
				e.remove(conv, user)
				e.put(conv, user, chat.RoleMember)
			}
		}
		d := draft(conv, user, body)
		o := e.commit(d)[0]
		switch {
		case o.Err != nil:
		case body.Type == chat.TypeMessage:
			said[fmt.Sprintf("%s/%d", conv, o.Seq)] = entryOf(d, o)
		case body.Type == chat.TypeEdit:
			entry := said[at]
			entry.Content = body.Content
			said[at] = entry
		default:
			delete(said, at)
		}
		q := text()
		if rng.IntN(2) == 0 {
			q = vocabulary[rng.IntN(len(vocabulary)-3)]
		}
		words, err := chat.ParseQuery(q)
		e.ok(err, "query %q", q)
		s := bridge.Search{UserID: user, Limit: 1 + rng.IntN(60)}
		if rng.IntN(2) == 0 {
			s.Conversation = conv
		}
		want := expected(said, s, words)
		equal(e, e.find(s, q), want, "search %q %+v", q, s)
	}
}

// expected looks at everything that was said.
func expected(said map[string]chat.Entry, s bridge.Search, words []string) []chat.Entry {
	want := []chat.Entry{}
	var w chat.Words
	for _, entry := range said {
		if s.Conversation != "" && entry.Stream != chat.ConversationStream(s.Conversation) {
			continue
		}
		has := map[string]bool{}
		for _, word := range w.Of(entry.Content) {
			has[string(word)] = true
		}
		if !slices.ContainsFunc(words, func(word string) bool { return !has[word] }) {
			want = append(want, entry)
		}
	}
	newestFirst(want)
	return want[:min(len(want), s.Limit)]
}
