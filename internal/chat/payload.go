package chat

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DecodeBody reads a payload sent to chat/<c>/messages or its REST twin: a
// JSON object, or, when plain is set or the first byte is not '{', the plain
// text of a message. Every error is an *Error that names the field.
func DecodeBody(payload []byte, plain bool) (Body, error) {
	if len(payload) > MaxPayload {
		return Body{}, Invalid("payload", "is longer than %d bytes", MaxPayload)
	}
	if !utf8.Valid(payload) {
		return Body{}, Invalid("payload", "is not UTF-8")
	}
	b := Body{Type: TypeMessage}
	if plain || len(payload) == 0 || payload[0] != '{' {
		b.Content = string(payload)
	} else if err := b.decodeObject(payload); err != nil {
		return Body{}, err
	}
	if err := b.check(); err != nil {
		return Body{}, err
	}
	return b, nil
}

// The keys of a payload, as bits of a set.
const (
	keyType = 1 << iota
	keyContent
	keyMediaURL
	keyReplyTo
	keyMentions
	keyTarget
	keyEmoji
	keyRemove
	keyClientID
)

// keyNames are the names of the keys in the order of their bits. A key in
// another case is unknown.
var keyNames = [...]string{"type", "content", "mediaUrl", "replyTo", "mentions", "target", "emoji", "remove", "clientId"}

// allowed says which keys each type takes.
var allowed = [...]int{
	TypeMessage:  keyType | keyClientID | keyContent | keyMediaURL | keyReplyTo | keyMentions,
	TypeEdit:     keyType | keyClientID | keyTarget | keyContent,
	TypeDelete:   keyType | keyClientID | keyTarget,
	TypeReaction: keyType | keyClientID | keyTarget | keyEmoji | keyRemove,
}

// decodeObject fills b from a JSON object. A key that stands twice is refused,
// so that no two readers of a payload can differ.
func (b *Body) decodeObject(payload []byte) error {
	o := object{b: payload}
	have := 0
	for o.next() {
		key := keyOf(o.key)
		switch {
		case key == 0:
			o.fail(notAKey(string(o.key), "a payload"))
		case have&key != 0:
			o.fail(Invalid(string(o.key), "stands twice"))
		default:
			b.decodeValue(&o, key)
		}
		have |= key
	}
	if o.err != nil {
		return o.err
	}
	for i, name := range keyNames {
		if have&^allowed[b.Type]&(1<<i) != 0 {
			return notAKey(name, "a payload of type "+b.Type.String())
		}
	}
	return nil
}

func keyOf(key []byte) int {
	for i, name := range keyNames {
		if string(key) == name {
			return 1 << i
		}
	}
	return 0
}

func notAKey(key, of string) *Error { return Invalid(clip(key), "is not a key of %s", of) }

// decodeValue reads the value of key.
func (b *Body) decodeValue(o *object, key int) {
	switch key {
	case keyType:
		switch o.string() {
		case "message":
			b.Type = TypeMessage
		case "edit":
			b.Type = TypeEdit
		case "delete":
			b.Type = TypeDelete
		case "reaction":
			b.Type = TypeReaction
		default:
			o.want(`"message", "edit", "delete" or "reaction"`)
		}
	case keyContent:
		b.Content = o.string()
	case keyMediaURL:
		b.MediaURL = o.string()
	case keyReplyTo:
		b.ReplyTo = entrySeq(o)
	case keyMentions:
		b.Mentions = o.strings(MaxMentions, "a list of user ids")
	case keyTarget:
		b.Target = entrySeq(o)
	case keyEmoji:
		b.Emoji = o.string()
	case keyRemove:
		b.Remove = o.bool()
	case keyClientID:
		if b.ClientID = o.string(); !ValidID(b.ClientID) {
			o.want("1 to 64 characters of A-Z a-z 0-9 _ . @ : -")
		}
	}
}

// entrySeq reads the seq of an entry, which is never 0.
func entrySeq(o *object) uint64 {
	n := o.seq()
	if n == 0 {
		o.want("the seq of an entry")
	}
	return n
}

// check holds the rules that go beyond the shape of the JSON.
func (b *Body) check() error {
	switch b.Type {
	case TypeMessage:
		if b.MediaURL == "" || b.Content != "" {
			if err := checkContent(b.Content); err != nil {
				return err
			}
		}
		if b.MediaURL != "" {
			if err := checkMediaURL(b.MediaURL); err != nil {
				return err
			}
		}
		return checkMentions(b.Mentions)
	case TypeEdit:
		if b.Target == 0 {
			return Invalid("target", "is required")
		}
		return checkContent(b.Content)
	case TypeDelete:
		if b.Target == 0 {
			return Invalid("target", "is required")
		}
	case TypeReaction:
		if b.Target == 0 {
			return Invalid("target", "is required")
		}
		return checkText("emoji", b.Emoji, MaxEmoji)
	}
	return nil
}

func checkContent(s string) error { return checkText("content", s, MaxContent) }

// CheckName checks the name of a conversation; "" is allowed and means none.
func CheckName(s string) error {
	if s == "" {
		return nil
	}
	return checkText("name", s, MaxName)
}

// checkText wants 1 to limit bytes of UTF-8 with something other than white
// space, and no U+0000, which Postgres cannot keep.
func checkText(field, s string, limit int) error {
	switch {
	case s == "":
		return Invalid(field, "must not be empty")
	case len(s) > limit:
		return Invalid(field, "is longer than %d bytes", limit)
	case !utf8.ValidString(s):
		return Invalid(field, "is not UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return Invalid(field, "must not contain U+0000")
	case strings.IndexFunc(s, func(r rune) bool { return !unicode.IsSpace(r) }) < 0:
		return Invalid(field, "must have something other than white space")
	}
	return nil
}

func checkMediaURL(s string) error {
	if len(s) > MaxMediaURL {
		return Invalid("mediaUrl", "is longer than %d bytes", MaxMediaURL)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return Invalid("mediaUrl", "must be an http or https URL")
	}
	return nil
}

func checkMentions(ids []string) error {
	for _, id := range ids {
		if !ValidID(id) {
			return Invalid("mentions", "must be user ids")
		}
	}
	return nil
}

// DecodeReplay reads the payload of a replay topic, {"after": 12}, and
// returns 12.
func DecodeReplay(payload []byte) (after uint64, err error) {
	have := false
	err = flat(payload, "a replay", func(o *object, key string) bool {
		if key != "after" {
			return false
		}
		after, have = o.seq(), true
		return true
	})
	if err == nil && !have {
		err = Invalid("after", "is required")
	}
	if err != nil {
		return 0, err
	}
	return after, nil
}

// maxSeq is the largest number that both databases can hold.
const maxSeq = 1<<63 - 1

// ParseSeq reads a seq from its decimal digits. 0 is allowed: it stands
// before the first entry.
func ParseSeq(field, s string) (uint64, error) {
	n, ok := parseSeq(s)
	if !ok {
		return 0, errSeq(field)
	}
	return n, nil
}

func errSeq(field string) *Error {
	return Invalid(field, "must be a whole number from 0 to %d", uint64(maxSeq))
}

func parseSeq[S ~string | ~[]byte](s S) (n uint64, ok bool) {
	if len(s) == 0 || len(s) > len("9223372036854775807") {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, n <= maxSeq
}

// clip keeps a long key out of an error.
func clip(key string) string {
	if len(key) > MaxID {
		return "payload"
	}
	return key
}
