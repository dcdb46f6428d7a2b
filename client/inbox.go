package client

import "sync"

// inbox is where what the link brings waits for the reader of Events. Putting
// never waits. Entries above the bound are left out, which is remembered:
// they are fetched later. Of state the newest of each is kept.
type inbox struct {
	mu       sync.Mutex
	most     int // entries
	entries  []Event
	bytes    int
	state    map[string]Event
	order    []string // keys of state, as they came
	told     []Event  // problems, and what became of old messages
	problems int      // how many of told are problems
	sync     bool     // entries are missing
	wake     chan struct{}
}

// Bounds of what waits beside Options.Buffer.
const (
	mostBytes  = 8 << 20 // of entries
	mostStates = 4096
	mostTold   = 256
)

// statusKey is the key of the client's status among state.
const statusKey = "status"

func newInbox(most int) *inbox {
	return &inbox{most: most, state: make(map[string]Event), wake: make(chan struct{}, 1)}
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// putEntry takes an Entry or a Notification of some size.
func (in *inbox) putEntry(e Event, size int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.entries) >= in.most || in.bytes+size > mostBytes {
		in.sync = true
	} else {
		in.entries = append(in.entries, e)
		in.bytes += size
	}
	in.signal()
}

// dropEntries forgets the entries that wait.
func (in *inbox) dropEntries() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.entries, in.bytes = nil, 0
}

// putState takes how something stands; it replaces what key said before. Above
// the bound it is left out, but for the status.
func (in *inbox) putState(key string, e Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, ok := in.state[key]; !ok {
		if len(in.order) >= mostStates && key != statusKey {
			return
		}
		in.order = append(in.order, key)
	}
	in.state[key] = e
	in.signal()
}

// tell takes an event that has no newer one. Of Resent there are as many as
// messages waited; Problems above the bound are left out.
func (in *inbox) tell(e Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, problem := e.(Problem); problem {
		if in.problems >= mostTold {
			return
		}
		in.problems++
	}
	in.told = append(in.told, e)
	in.signal()
}

// wantSync has the reader fetch what was missed.
func (in *inbox) wantSync() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.sync = true
	in.signal()
}

// work is what is to be done next.
type work struct {
	event Event // or
	entry Event // or
	sync  bool
}

// next gives what is to be done, state first: it is about now. mayEntries is
// false as long as others come before them, maySync while fetching makes no
// sense.
func (in *inbox) next(mayEntries, maySync bool) (w work, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(in.order) > 0:
		key := in.order[0]
		in.order = in.order[1:]
		w.event = in.state[key]
		delete(in.state, key)
	case len(in.told) > 0:
		w.event = in.told[0]
		if _, problem := w.event.(Problem); problem {
			in.problems--
		}
		in.told = in.told[1:]
	case maySync && in.sync:
		in.sync = false
		w.sync = true
	case mayEntries && len(in.entries) > 0:
		w.entry = in.entries[0]
		in.entries[0] = nil
		if in.entries = in.entries[1:]; len(in.entries) == 0 {
			in.entries, in.bytes = nil, 0
		}
	default:
		return w, false
	}
	return w, true
}
