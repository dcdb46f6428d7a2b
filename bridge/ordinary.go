package bridge

import (
	"context"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Ordinary is the part of a Store that keeps what MQTT wants kept of ordinary
// topics, those that are no streams: messages that durable sessions have not
// acknowledged, retained messages, wills, and the packet identifiers of QoS 2.
// Its verbs obey the rules of Store, errors included. Times are kept in whole
// milliseconds; keys and topics are in the order of their bytes.
type Ordinary interface {
	// Keep carries out all of the changes in one transaction, or none. What
	// belongs to a durable session that does not stand is passed over. The
	// same Keep again, because the outcome of the first was unknown, changes
	// nothing: messages and deliveries that stand are passed over.
	Keep(ctx context.Context, c *Changes) error

	// Queued answers for each range the deliveries of a session with
	// After < N, in order of N, at most Limit of them, with their Message.
	// A session that does not stand has none. One call serves all ranges.
	Queued(ctx context.Context, ranges []QueueRange) ([][]Delivery, error)
	// Queues answers the durable sessions that have a subscription of
	// ordinary topics or a delivery, in order of user and client id, those
	// after the given key (the zero key is the start), at most limit.
	Queues(ctx context.Context, after SessionKey, limit int) ([]Queue, error)

	// Retained answers, in byte order of their topics, the retained messages
	// with from <= Topic < to (to "" has no end) that have not expired at
	// now, at most limit of them.
	Retained(ctx context.Context, now time.Time, from, to string, limit int) ([]Message, error)
	// RetainedOn answers the retained message of each topic, or nil.
	RetainedOn(ctx context.Context, now time.Time, topics []string) ([]*Message, error)
	// CountRetained answers how many messages are retained, and the sum of
	// their Size. Those that have expired count until they are swept. It
	// reads them all.
	CountRetained(ctx context.Context) (count, bytes int64, err error)

	// Wills answers the wills that are kept, in order of user and client id,
	// those after the given key (the zero key is the start), at most limit.
	Wills(ctx context.Context, after SessionKey, limit int) ([]Will, error)

	// SweepMessages removes at most limit of each: retained messages that
	// have expired at now, and messages that no delivery refers to. It says
	// how many it removed of the first and their Size, and of the second.
	// Fewer than limit means that there were no more, but for those that
	// somebody else had hold of. It is the one verb that may be several
	// transactions.
	SweepMessages(ctx context.Context, now time.Time, limit int) (Swept, error)

	// EraseRetained removes at most limit retained messages that the user
	// published. It says how many, and their Size.
	EraseRetained(ctx context.Context, user string, limit int) (count int, bytes int64, err error)
	// EraseQueued empties, among the next limit messages of ordinary topics
	// after an id (the zero id is the start) those that the user published:
	// Payload and Props go, and they have expired. It answers the last id it
	// looked at, the zero id at the end.
	EraseQueued(ctx context.Context, user string, after chat.ID, limit int) (chat.ID, error)
}

// Message is an application message of an ordinary topic.
type Message struct {
	ID      chat.ID // made by the caller
	UserID  string  // who published it, "" where that is not known
	Topic   string
	Payload []byte
	// Props are the properties of the PUBLISH as MQTT 5 writes them one
	// behind the other, but for those that belong to one hop: message expiry
	// interval, topic alias, subscription identifiers.
	Props     []byte
	QoS       byte // of its publisher
	Published time.Time
	Expires   time.Time // zero: never [MQTT-3.3.2-5]
}

// Size is what a message counts for against bounds, in bytes.
func (m *Message) Size() int { return len(m.Topic) + len(m.Payload) + len(m.Props) }

// Delivery is a message on its way to one durable session.
type Delivery struct {
	Key SessionKey
	// N numbers the deliveries of a session from 1 on, in their order; there
	// may be gaps. It decides the packet identifier.
	N       uint64
	QoS     byte // 1 or 2
	Retain  bool
	SubIDs  []uint32 // subscription identifiers
	Share   string   // the filter of the shared subscription that it came by, whole, or ""
	Size    int      // of its message, also when Released
	Message *Message // nil where Released
	// Released says that the client has it: its PUBREC has come, its PUBCOMP
	// has not.
	Released bool
}

// DeliveryKey names a delivery.
type DeliveryKey struct {
	Key SessionKey
	N   uint64
}

// QueueRange asks for the deliveries of a session that come after one.
type QueueRange struct {
	Key   SessionKey
	After uint64
	Limit int
}

// Queue is a durable session as the router must know it, connected or not.
type Queue struct {
	Session        // with Subscriptions, without Cursors and Received
	Count   int    // deliveries
	Bytes   int64  // sum of their Size
	Last    uint64 // highest N, 0 when there is no delivery
	Sent    uint64 // see SentMark
}

// SentMark says that a session's deliveries up to N were sent, or may have
// been.
type SentMark struct {
	Key SessionKey
	N   uint64
}

// Received is a packet identifier that a durable session sent with QoS 2 and
// has not released: its PUBLISH must not be taken again [MQTT-4.3.3-10].
type Received struct {
	PacketID uint16
	// ClientID is that of the draft that the PUBLISH became, "" where it was
	// no draft.
	ClientID string
}

// ReceivedAt is a Received of one session.
type ReceivedAt struct {
	Key SessionKey
	Received
}

// Will is the will of a session that is connected, or that lost its
// connection and whose will is delayed [MQTT-3.1.2-7]. Its session may be a
// durable one or not.
type Will struct {
	Key       SessionKey
	Message             // Published and Expires are zero
	Retain    bool      // it is to be retained
	HasExpiry bool      // it has a message expiry interval, from its publication on
	Expiry    uint32    // seconds
	Delay     uint32    // seconds
	Due       time.Time // when it is to be published; zero while connected
}

// Changes is what Keep does, in the order of the fields. The caller promises
// that nothing stands twice in one field, nor in two that contradict.
type Changes struct {
	Messages   []*Message    // that Deliveries name, unless they stand; known ids are passed over
	Deliveries []Delivery    // new ones; one that stands stays as it is
	Released   []DeliveryKey // they are Released from now on
	Done       []DeliveryKey // gone: acknowledged, dropped or expired
	Retained   []*Message    // one replaces that of its topic; with an empty payload it removes it
	Received   []ReceivedAt  // new; one that stands gets the ClientID
	Forgotten  []ReceivedAt  // gone: their PUBREL has come
	Wills      []Will        // one replaces that of its session
	NoWills    []SessionKey  // gone
	Sent       []SentMark    // one replaces that of its session, also by a lower N
}

// Swept is what SweepMessages removed.
type Swept struct {
	Retained      int
	RetainedBytes int64
	Messages      int
}
