package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of notifications. Sizes are in bytes.
const (
	MaxNoticeType    = 64       // the type of a notification
	MaxNoticeData    = 4096     // its data, without white space
	MaxNoticeDepth   = 32       // how deep data may be nested
	MaxCollapse      = 128      // its collapse key
	MaxNotices       = 1000     // notifications in one batch
	MaxNoticePayload = 10 << 20 // a batch, before decoding
	MaxReadIDs       = 1000     // ids that are marked as read together
)

// Notice is what a notification says. Its sender is that of the entry, its
// recipient the user of the stream.
type Notice struct {
	Type     string
	Data     []byte // a JSON object without white space, nil if it has no keys
	Collapse string // "" is none
	Read     bool   // not among the unread, when the entry was read
}

// About is the conversation that the notification is about, "" if it is about
// none.
func (n *Notice) About() string {
	if len(n.Data) == 0 {
		return ""
	}
	var keys map[string]json.RawMessage
	var id string
	if json.Unmarshal(n.Data, &keys) != nil || json.Unmarshal(keys["conversationId"], &id) != nil {
		return ""
	}
	return id
}

// appendNotice appends the JSON of a notification to dst.
func (e *Entry) appendNotice(dst []byte) []byte {
	dst = append(dst, `{"id":"`...)
	dst = e.ID.Append(dst)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, `,"recipientId":`...)
	dst = appendString(dst, e.Stream.User())
	dst = append(dst, `,"senderId":`...)
	dst = appendString(dst, e.SenderID)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, e.Notice.Type)
	if len(e.Notice.Data) > 0 && !e.Deleted {
		dst = append(append(dst, `,"data":`...), e.Notice.Data...)
	}
	if !e.Deleted {
		dst = appendField(dst, `,"collapse":`, e.Notice.Collapse)
	}
	dst = append(dst, `,"isRead":`...)
	dst = strconv.AppendBool(dst, e.Notice.Read)
	dst = appendTrue(dst, `,"deleted":true`, e.Deleted)
	dst = append(dst, `,"createdAt":"`...)
	dst = AppendTime(dst, e.CreatedAt)
	return append(dst, `"}`...)
}

// ValidNoticeType reports whether s may be the type of a notification: 1 to 64
// characters of A-Z a-z 0-9 _ . : and -.
func ValidNoticeType(s string) bool { return ValidID(s) && strings.IndexByte(s, '@') < 0 }

const (
	idRule         = "1 to 64 characters of A-Z a-z 0-9 _ . @ : -"
	noticeTypeRule = "1 to 64 characters of A-Z a-z 0-9 _ . : -"
)

// DecodeNotices reads what POST /notifications takes: a notification, a list
// of them, or {"items": […]}. batch says that it was not a single one. Those
// without a senderId get sender. The drafts have no ID yet. Every error is an
// *Error that names the field, of a list like items[3].type.
func DecodeNotices(payload []byte, sender string) (drafts []Draft, batch bool, err error) {
	switch {
	case len(payload) > MaxNoticePayload:
		return nil, false, Invalid("payload", "is longer than %d bytes", MaxNoticePayload)
	case !utf8.Valid(payload):
		return nil, false, Invalid("payload", "is not UTF-8")
	case !json.Valid(payload):
		return nil, false, Invalid("payload", "is not valid JSON")
	}
	list, err := noticeList(payload)
	if err != nil {
		return nil, false, err
	}
	if list == nil {
		d, bad := decodeNotice(payload, sender)
		if bad != nil {
			return nil, false, bad
		}
		return []Draft{d}, false, nil
	}
	drafts, err = decodeNotices(list, sender)
	return drafts, true, err
}

// noticeList answers the list of a batch, nil if the payload is none.
func noticeList(payload []byte) ([]byte, error) {
	o := object{b: payload}
	if o.space(); len(o.b) > 0 && o.b[0] == '[' {
		return o.b, nil
	}
	var list []byte
	other := ""
	for o.next() {
		key, value := string(o.key), o.raw()
		switch {
		case key != "items":
			other = key
		case list != nil:
			return nil, Invalid("items", "stands twice")
		case value[0] != '[':
			return nil, Invalid("items", "must be a list")
		default:
			list = value
		}
	}
	switch {
	case o.err != nil:
		return nil, o.err
	case list != nil && other != "":
		return nil, notAKey(other, "a batch")
	}
	return list, nil
}

// decodeNotices reads the elements of a list.
func decodeNotices(list []byte, sender string) ([]Draft, error) {
	o := object{b: list}
	o.take('[')
	if o.take(']') {
		return nil, Invalid("items", "must not be empty")
	}
	var drafts []Draft
	for {
		if len(drafts) == MaxNotices {
			return nil, Invalid("items", "has more than %d elements", MaxNotices)
		}
		d, bad := decodeNotice(o.raw(), sender)
		if bad != nil {
			place := fmt.Sprintf("items[%d]", len(drafts))
			if bad.Field != "payload" {
				place += "." + bad.Field
			}
			return nil, Invalid(place, "%s", bad.Message)
		}
		if drafts = append(drafts, d); o.take(']') {
			return drafts, nil
		}
		o.take(',')
	}
}

// decodeNotice reads one notification.
func decodeNotice(payload []byte, sender string) (Draft, *Error) {
	o := object{b: payload}
	n := &Notice{}
	d := Draft{Body: Body{Type: TypeNotification, Notice: n}}
	have := map[string]bool{}
	for o.next() {
		key := string(o.key)
		if have[key] {
			o.fail(Invalid(clip(key), "stands twice"))
			break
		}
		have[key] = true
		switch key {
		case "recipientId":
			d.Stream = NotificationStream(o.id())
		case "senderId":
			d.SenderID = o.id()
		case "clientId":
			d.ClientID = o.id()
		case "type":
			if n.Type = o.string(); !ValidNoticeType(n.Type) {
				o.want(noticeTypeRule)
			}
		case "collapse":
			n.Collapse = o.string()
			if err := checkText("collapse", n.Collapse, MaxCollapse); err != nil && o.err == nil {
				o.err, _ = AsError(err)
			}
		case "data":
			n.Data = o.data()
		default:
			o.fail(notAKey(key, "a notification"))
		}
	}
	if d.SenderID == "" {
		d.SenderID = sender
	}
	switch {
	case o.err != nil:
		return d, o.err
	case !have["recipientId"]:
		return d, Invalid("recipientId", "is required")
	case !have["type"]:
		return d, Invalid("type", "is required")
	}
	return d, nil
}

// id reads a value that is an id that a caller chooses.
func (o *object) id() string {
	s := o.string()
	if !ValidID(s) {
		o.want(idRule)
	}
	return s
}

// data reads a value that is an object of any keys, and answers it without
// white space, nil if it has no keys.
func (o *object) data() []byte {
	if o.space(); len(o.b) == 0 || o.b[0] != '{' {
		o.want("a JSON object")
		return nil
	}
	var short bytes.Buffer
	if err := json.Compact(&short, o.raw()); err != nil {
		o.broken()
		return nil
	}
	switch {
	case short.Len() > MaxNoticeData:
		o.fail(Invalid("data", "is longer than %d bytes", MaxNoticeData))
	case depth(short.Bytes()) > MaxNoticeDepth:
		o.fail(Invalid("data", "is nested too deep"))
	case short.Len() > len("{}"):
		return short.Bytes()
	}
	return nil
}

// raw cuts off any value. The text must be valid JSON.
func (o *object) raw() []byte {
	o.space()
	end, open := 0, 0
	for end < len(o.b) {
		switch c := o.b[end]; c {
		case '"':
			end += quoted(o.b[end:])
		case '{', '[':
			open++
			end++
		case '}', ']':
			if open == 0 {
				return o.cut(end) // of what this stands in
			}
			open--
			end++
		case ',', ' ', '\n', '\t', '\r':
			if open == 0 {
				return o.cut(end)
			}
			end++
			continue
		default:
			end++
			continue
		}
		if open == 0 {
			break
		}
	}
	return o.cut(end)
}

func (o *object) cut(n int) []byte {
	value := o.b[:n]
	o.b = o.b[n:]
	return value
}

// quoted is how long the string is that b begins with.
func quoted(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// depth is how deep valid JSON is nested.
func depth(b []byte) (most int) {
	now := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += quoted(b[i:]) - 1
		case '{', '[':
			now++
			most = max(most, now)
		case '}', ']':
			now--
		}
	}
	return most
}

// ReadMarks says which of a user's notifications are read: those with IDs,
// those up to a seq, or all.
type ReadMarks struct {
	IDs  []ID
	UpTo uint64
	All  bool
}

// DecodeReadMarks reads a payload sent to users/<u>/notifications/read, or its
// REST twin: {"ids": […]}, {"upTo": 9} or {"all": true}.
func DecodeReadMarks(payload []byte) (m ReadMarks, err error) {
	switch {
	case len(payload) > MaxPayload:
		return m, Invalid("payload", "is longer than %d bytes", MaxPayload)
	case !utf8.Valid(payload):
		return m, Invalid("payload", "is not UTF-8")
	}
	o := object{b: payload}
	have := ""
	for o.next() {
		key := string(o.key)
		switch {
		case key != "ids" && key != "upTo" && key != "all":
			o.fail(notAKey(key, "what is read"))
		case key == have:
			o.fail(Invalid(key, "stands twice"))
		case have != "":
			o.fail(Invalid(key, "cannot stand together with %s", have))
		case key == "ids":
			m.IDs = o.ids()
		case key == "upTo":
			m.UpTo = o.seq()
		default:
			if m.All = o.bool(); !m.All {
				o.want("true")
			}
		}
		have = key
	}
	switch {
	case o.err != nil:
		return ReadMarks{}, o.err
	case have == "":
		return ReadMarks{}, Invalid("payload", "needs ids, upTo or all")
	}
	return m, nil
}

// ids reads a value that is a list of ids of entries.
func (o *object) ids() []ID {
	const what = "a list of ids of notifications"
	list := o.strings(MaxReadIDs, what)
	ids := make([]ID, len(list))
	for i, s := range list {
		var ok bool
		if ids[i], ok = ParseID(s); !ok {
			o.want(what)
			return nil
		}
	}
	return ids
}

// ParseID reads an ID in the usual form of 36 characters.
func ParseID(s string) (id ID, ok bool) {
	if len(s) != 36 {
		return ID{}, false
	}
	at := 0
	for i := range id {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			if s[at] != '-' {
				return ID{}, false
			}
			at++
		}
		high, low := hexValue(s[at]), hexValue(s[at+1])
		if high > 15 || low > 15 {
			return ID{}, false
		}
		id[i] = high<<4 | low
		at += 2
	}
	return id, true
}

func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
