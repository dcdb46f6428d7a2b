package bridge

import "github.com/parley-mqtt/parley/internal/chat"

// Observer is told of all streams, whoever follows them. It is called on
// goroutines of the log that others wait for: it must not block. What it is
// told is a hint and may be missing, as for what another process commits: the
// store knows.
type Observer interface {
	// Appended says that an entry was committed.
	Appended(stream chat.StreamID, seq uint64)
	// Ended says that a conversation was deleted.
	Ended(stream chat.StreamID)
}

// Observe has o told from now on, beside those that are told already.
func (l *Log) Observe(o Observer) {
	for {
		old := l.observers.Load()
		var all []Observer
		if old != nil {
			all = append(all, *old...)
		}
		all = append(all, o)
		if l.observers.CompareAndSwap(old, &all) {
			return
		}
	}
}

func (l *Log) appended(stream chat.StreamID, seq uint64) {
	if all := l.observers.Load(); all != nil {
		for _, o := range *all {
			o.Appended(stream, seq)
		}
	}
}

func (l *Log) ended(stream chat.StreamID) {
	if all := l.observers.Load(); all != nil {
		for _, o := range *all {
			o.Ended(stream)
		}
	}
}
