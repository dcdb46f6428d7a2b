package client

import "time"

// Event is what comes on Events: Entry, Typing, Receipt, Presence,
// Notification, Unread, Gap, Status, Resent or Problem.
type Event interface{ event() }

// Gap says that entries of a conversation are missing before First: the
// server does not hold them any more, or they may not be read, or its database
// was restored. Load anew what is shown of it, and forget seqs from before:
// after a restore they come again, for other entries. Of notifications
// ConversationID is empty, and First is 0 where any may be missing.
type Gap struct {
	ConversationID string
	First          uint64
}

// Resent tells what became of a message that waited in Options.Outbox when
// the client began: Err is nil where it was committed.
type Resent struct {
	Pending Pending
	Sent    Sent
	Err     *Error
}

// Problem is what the server has against something that was published and
// that nobody waits for, such as Typing.
type Problem struct{ Err *Error }

// State is where the link stands.
type State string

// The states.
const (
	StateConnecting State = "connecting" // no connection yet, or a new one is being made
	StateSyncing    State = "syncing"    // connected, and fetching what was missed
	StateOnline     State = "online"     // connected, and everything committed so far was delivered
	StateOffline    State = "offline"    // waiting before the next try
	StateClosed     State = "closed"     // ended for good
)

// Status is where the link stands. A slow reader gets the newest alone.
type Status struct {
	State   State
	RetryAt time.Time // when StateOffline ends
	// Err is why there is no connection, if that is known; with StateClosed
	// it is why trying again is useless, and nil after Close.
	Err *Error
}

func (Entry) event()        {}
func (Typing) event()       {}
func (Receipt) event()      {}
func (Presence) event()     {}
func (Notification) event() {}
func (Unread) event()       {}
func (Gap) event()          {}
func (Resent) event()       {}
func (Problem) event()      {}
func (Status) event()       {}
