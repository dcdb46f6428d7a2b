package webhook

import (
	"strconv"

	"github.com/parley-mqtt/parley/internal/chat"
)

// The events.
const (
	MessageCreated     = "message.created"
	MemberJoined       = "member.joined"
	MemberLeft         = "member.left"
	UserOfflineMessage = "user.offline_message"
)

var allEvents = []string{MessageCreated, MemberJoined, MemberLeft, UserOfflineMessage}

// event is what one request tells.
type event struct {
	kind string
	id   string // the same at every try
	body []byte
}

// maxUsers is how many users one user.offline_message names.
const maxUsers = 1000

// newEvent makes an event about an entry. part counts those of one kind. data
// appends the JSON of what it tells.
func newEvent(kind string, e *chat.Entry, part int, data func([]byte) []byte) event {
	id := append(e.ID.Append(nil), ':')
	id = append(id, kind...)
	if part > 0 {
		id = strconv.AppendInt(append(id, ':'), int64(part+1), 10)
	}
	// Nothing here needs to be escaped: ids are of letters, digits and _.@:-
	b := append(make([]byte, 0, 512+len(e.Content)), `{"id":"`...)
	b = append(append(b, id...), `","type":"`...)
	b = append(append(b, kind...), `","createdAt":"`...)
	b = append(chat.AppendTime(b, e.CreatedAt), `","conversationId":"`...)
	b = append(append(b, e.Stream.Conversation()...), `","data":`...)
	return event{kind: kind, id: string(id), body: append(data(b), '}')}
}

func messageCreated(e *chat.Entry) event {
	return newEvent(MessageCreated, e, 0, e.AppendJSON)
}

// memberChanged is for joins and leaves.
func memberChanged(kind string, e *chat.Entry) event {
	return newEvent(kind, e, 0, func(b []byte) []byte {
		b = append(append(b, `{"userId":"`...), e.UserID...)
		b = append(append(b, `","by":"`...), e.SenderID...)
		return append(strconv.AppendUint(append(b, `","seq":`...), e.Seq, 10), '}')
	})
}

func offlineMessage(e *chat.Entry, part int, users []string) event {
	return newEvent(UserOfflineMessage, e, part, func(b []byte) []byte {
		b = append(b, `{"userIds":[`...)
		for i, user := range users {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), user...), '"')
		}
		return append(e.AppendJSON(append(b, `],"message":`...)), '}')
	})
}
