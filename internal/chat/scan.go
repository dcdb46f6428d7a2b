package chat

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// object reads one flat JSON object, key by key, from UTF-8 text. It exists
// because every message that is sent passes here: encoding/json took a dozen
// times as long, and takes keys in any case and twice.
//
// Use: for o.next() { read the value of o.key with one of the methods }, then
// look at o.err. Its first failure ends the loop.
type object struct {
	b   []byte // what is left
	key []byte // the key whose value comes next
	err *Error
	in  bool // behind the opening brace
}

// next goes to the next key. It is false at the end of the object, behind
// which only white space may stand, and after a failure.
func (o *object) next() bool {
	switch {
	case o.err != nil:
		return false
	case !o.in:
		if !o.take('{') {
			o.fail(Invalid("payload", "must be a JSON object"))
			return false
		}
		o.in = true
		if o.take('}') {
			return o.end()
		}
	case o.take('}'):
		return o.end()
	case !o.take(','):
		return o.broken()
	}
	var ok bool
	if o.key, ok = o.text(); !ok || !o.take(':') {
		return o.broken()
	}
	return true
}

func (o *object) end() bool {
	if o.space(); len(o.b) > 0 {
		o.fail(Invalid("payload", "has something after the JSON object"))
	}
	return false
}

func (o *object) fail(err *Error) {
	if o.err == nil {
		o.err = err
	}
}

func (o *object) broken() bool {
	o.fail(Invalid("payload", "is not valid JSON"))
	return false
}

// want fails because the value is not what the key needs.
func (o *object) want(what string) { o.fail(Invalid(clip(string(o.key)), "must be %s", what)) }

// space skips white space.
func (o *object) space() {
	for len(o.b) > 0 && (o.b[0] == ' ' || o.b[0] == '\n' || o.b[0] == '\t' || o.b[0] == '\r') {
		o.b = o.b[1:]
	}
}

// take skips white space, and c if it follows.
func (o *object) take(c byte) bool {
	o.space()
	if len(o.b) == 0 || o.b[0] != c {
		return false
	}
	o.b = o.b[1:]
	return true
}

// string reads a value that is a string.
func (o *object) string() string {
	s, ok := o.text()
	if !ok {
		o.want("a string")
	}
	return string(s)
}

// strings reads a value that is a list of strings, of at most limit.
func (o *object) strings(limit int, what string) (list []string) {
	if !o.take('[') {
		o.want(what)
		return nil
	}
	if o.take(']') {
		return nil
	}
	for {
		s, ok := o.text()
		if !ok {
			o.want(what)
			return nil
		}
		if len(list) == limit {
			o.fail(Invalid(clip(string(o.key)), "has more than %d elements", limit))
			return nil
		}
		list = append(list, string(s))
		if o.take(']') {
			return list
		}
		if !o.take(',') {
			o.broken()
			return nil
		}
	}
}

// bool reads a value that is true or false.
func (o *object) bool() bool {
	switch string(o.literal()) {
	case "true":
		return true
	case "false":
	default:
		o.want("true or false")
	}
	return false
}

// seq reads a value that is the seq of an entry, or 0.
func (o *object) seq() (n uint64) {
	word := o.literal()
	n, ok := parseSeq(word)
	if !ok || len(word) > 1 && word[0] == '0' { // JSON has no leading zeros
		o.fail(errSeq(clip(string(o.key))))
	}
	return n
}

// literal cuts off a number or a word. What follows one must be punctuation,
// so that everything up to there belongs to it.
func (o *object) literal() []byte {
	o.space()
	n := bytes.IndexAny(o.b, " \n\t\r,}]")
	if n < 0 {
		n = len(o.b)
	}
	word := o.b[:n]
	o.b = o.b[n:]
	return word
}

// text reads a string. It is a part of the payload unless it has escapes.
func (o *object) text() (s []byte, ok bool) {
	if !o.take('"') {
		return nil, false
	}
	for i, c := range o.b {
		switch {
		case c == '"':
			s, o.b = o.b[:i], o.b[i+1:]
			return s, true
		case c == '\\':
			return o.unescape(i)
		case c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// unescape reads a string whose first escape stands at from.
func (o *object) unescape(from int) (s []byte, ok bool) {
	s = append(make([]byte, 0, 2*from+32), o.b[:from]...)
	for i := from; i < len(o.b); {
		switch c := o.b[i]; {
		case c == '"':
			o.b = o.b[i+1:]
			return s, true
		case c < ' ':
			return nil, false
		case c != '\\':
			s = append(s, c)
			i++
		case i+1 < len(o.b) && o.b[i+1] == 'u':
			r, n := unescapeRune(o.b[i:])
			if n == 0 {
				return nil, false
			}
			s = utf8.AppendRune(s, r)
			i += n
		case i+1 < len(o.b) && escapes[o.b[i+1]] != 0:
			s = append(s, escapes[o.b[i+1]])
			i += 2
		default:
			return nil, false
		}
	}
	return nil, false
}

// escapes maps what stands behind a backslash to what it means.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescapeRune reads \uXXXX, or two of them that are a surrogate pair, and
// says how many bytes that was, 0 if it is none. A surrogate that stands alone
// is U+FFFD, as in encoding/json.
func unescapeRune(b []byte) (r rune, n int) {
	r = hex4(b)
	if r < 0 {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if pair := utf16.DecodeRune(r, hex4(b[6:])); pair != utf8.RuneError {
			return pair, 12
		}
		return utf8.RuneError, 6
	}
	return r, 6
}

// hex4 reads the \uXXXX at the front of b; it is -1 if there is none.
func hex4(b []byte) (r rune) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
