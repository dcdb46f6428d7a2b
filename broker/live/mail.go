package live

import "github.com/parley-mqtt/parley/bridge"

// kind is what a state is of.
type kind uint8

const (
	kindTyping kind = iota
	kindReceipt
	kindPresence
	kindUnread
	kinds
)

var kindNames = [kinds]string{"typing", "receipts", "presence", "unread"}

// key names a state that a session is to be told. What it is, is looked up
// when it is written.
type key struct {
	kind kind
	room *room   // of typing and receipts
	who  *person // but for unread
}

// item is a place in a mailbox.
type item struct {
	key
	retain  bool            // a subscription asked for it
	hidden  bool            // a block has come between: it is told as offline, and not typing
	receipt *bridge.Receipt // nobody changes it; nil is not to be told
}

// mail is what a session is yet to be told: one item for each key, in the
// order in which they came, and walks over rooms.
type mail struct {
	items []item // from head on
	head  int
	base  int // how many items were cut off in front of items
	index map[key]int
	walks []walk
}

const (
	// searched is how many items are searched without an index.
	searched = 16
	// typingRoom is how many items may wait before typing is dropped.
	typingRoom = 128
)

func (m *mail) len() int { return len(m.items) - m.head }

func (m *mail) empty() bool { return m.len() == 0 && len(m.walks) == 0 }

// find answers where the item of a key waits, -1 if none does.
func (m *mail) find(k key) int {
	if m.index != nil {
		if at, ok := m.index[k]; ok {
			return at - m.base
		}
		return -1
	}
	for i := m.head; i < len(m.items); i++ {
		if m.items[i].key == k {
			return i
		}
	}
	return -1
}

// put adds an item, or lets it take the place of the one with its key; fresh
// says which.
func (m *mail) put(it item) (fresh bool) {
	if i := m.find(it.key); i >= 0 {
		it.retain = it.retain || m.items[i].retain
		m.items[i] = it
		return false
	}
	m.items = append(m.items, it)
	if m.index != nil {
		m.index[it.key] = m.base + len(m.items) - 1
	} else if m.len() > searched {
		m.index = make(map[key]int, 2*searched)
		for i := m.head; i < len(m.items); i++ {
			m.index[m.items[i].key] = m.base + i
		}
	}
	return true
}

// void has nothing told of what waits under a key of receipts.
func (m *mail) void(k key) {
	if i := m.find(k); i >= 0 {
		m.items[i].receipt = nil
	}
}

// pop takes the oldest item.
func (m *mail) pop() item {
	it := m.items[m.head]
	m.items[m.head] = item{}
	m.head++
	if m.index != nil {
		delete(m.index, it.key)
	}
	switch {
	case m.head == len(m.items):
		m.base += m.head
		m.items, m.head, m.index = m.items[:0], 0, nil
		if cap(m.items) > searched { // a burst is over
			m.items = nil
		}
	case m.head > 64 && m.head > len(m.items)/2:
		n := copy(m.items, m.items[m.head:])
		clear(m.items[n:])
		m.items, m.base, m.head = m.items[:n], m.base+m.head, 0
	}
	return it
}

// walk tells a session of the members of a room, one after the other as its
// connection has room. It goes from the last to the first: members that come
// are added behind it, and one that takes the place of a member who left comes
// from there, so that nobody is missed.
type walk struct {
	room   *room
	next   int    // members before it are yet to be told of
	retain bool   // a subscription asked for it
	id     uint32 // of the snapshot: who is in several rooms is told of once
}
