package chat

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What is delivered and is not an entry: typing, receipts, presence and the
// count of unread notifications.

// flat reads a flat JSON object whose keys take is told one by one. take is
// false for a key that is not one of the object's.
func flat(payload []byte, of string, take func(o *object, key string) bool) error {
	if len(payload) > MaxPayload {
		return Invalid("payload", "is longer than %d bytes", MaxPayload)
	}
	if !utf8.Valid(payload) {
		return Invalid("payload", "is not UTF-8")
	}
	o := object{b: payload}
	seen := ""
	for o.next() {
		key := string(o.key)
		mark := "/" + key + "/"
		switch {
		case strings.Contains(seen, mark):
			o.fail(Invalid(clip(key), "stands twice"))
		case !take(&o, key):
			o.fail(notAKey(key, of))
		}
		seen += mark
	}
	if o.err != nil {
		return o.err
	}
	return nil
}

// DecodeTyping reads a payload sent to chat/<c>/typing, {"typing": true}.
func DecodeTyping(payload []byte) (typing bool, err error) {
	have := false
	err = flat(payload, "a typing state", func(o *object, key string) bool {
		if key != "typing" {
			return false
		}
		typing, have = o.bool(), true
		return true
	})
	if err == nil && !have {
		err = Invalid("typing", "is required")
	}
	return typing, err
}

// Status is how present a connection or a user is.
type Status uint8

// The values of Status.
const (
	StatusOffline Status = iota
	StatusAway
	StatusOnline
	StatusInvisible
)

var statusNames = [...]string{"offline", "away", "online", "invisible"}

// String is the name of the status in JSON.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "unknown"
}

// DecodeStatus reads a payload sent to users/<u>/presence,
// {"status": "away"}.
func DecodeStatus(payload []byte) (status Status, err error) {
	have := false
	err = flat(payload, "a presence", func(o *object, key string) bool {
		if key != "status" {
			return false
		}
		have = true
		name := o.string()
		for s, known := range statusNames {
			if name == known {
				status = Status(s)
				return true
			}
		}
		o.want(`"online", "away", "invisible" or "offline"`)
		return true
	})
	if err == nil && !have {
		err = Invalid("status", "is required")
	}
	return status, err
}

// DecodeReceipt reads a payload sent to chat/<c>/receipts, {"read": 17} or
// {"delivered": 19} or both. What is not named is 0.
func DecodeReceipt(payload []byte) (read, delivered uint64, err error) {
	have := false
	err = flat(payload, "a receipt", func(o *object, key string) bool {
		switch key {
		case "read":
			read, have = o.seq(), true
		case "delivered":
			delivered, have = o.seq(), true
		default:
			return false
		}
		return true
	})
	if err == nil && !have {
		err = Invalid("read", "or delivered is required")
	}
	return read, delivered, err
}

// AppendTyping appends what others get on chat/<c>/typing.
func AppendTyping(dst []byte, user string, typing bool) []byte {
	dst = appendString(append(dst, `{"userId":`...), user)
	return append(strconv.AppendBool(append(dst, `,"typing":`...), typing), '}')
}

// AppendReceipt appends what members get on chat/<c>/receipts.
func AppendReceipt(dst []byte, user string, read, delivered uint64, at time.Time) []byte {
	dst = appendString(append(dst, `{"userId":`...), user)
	dst = strconv.AppendUint(append(dst, `,"read":`...), read, 10)
	dst = strconv.AppendUint(append(dst, `,"delivered":`...), delivered, 10)
	return append(AppendTime(append(dst, `,"at":"`...), at), `"}`...)
}

// Presence is how present a user is to somebody.
type Presence struct {
	UserID   string
	Status   Status
	Devices  int       // connections that count
	LastSeen time.Time // of somebody who is offline; zero: never, or not known
}

// AppendJSON appends what stands on users/<u>/presence.
func (p *Presence) AppendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"userId":`...), p.UserID)
	dst = append(append(dst, `,"status":"`...), p.Status.String()...)
	dst = strconv.AppendInt(append(dst, `","devices":`...), int64(p.Devices), 10)
	if p.Status == StatusOffline && !p.LastSeen.IsZero() {
		dst = append(AppendTime(append(dst, `,"lastSeen":"`...), p.LastSeen), '"')
	}
	return append(dst, '}')
}

// AppendUnread appends what stands on users/<u>/unread.
func AppendUnread(dst []byte, count uint64) []byte {
	return append(strconv.AppendUint(append(dst, `{"unreadCount":`...), count, 10), '}')
}
