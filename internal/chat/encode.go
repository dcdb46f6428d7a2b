package chat

import (
	"strconv"
	"unicode/utf8"
)

// MarshalJSON writes the entry as clients see it. Empty keys are left out.
func (e Entry) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// AppendJSON appends the JSON of the entry to dst. The order of its keys never
// changes. What Erased takes away is not written of a deleted entry, whether it
// is still there or not.
// Nothing is allocated if dst has room.
func (e *Entry) AppendJSON(dst []byte) []byte {
	if e.Type == TypeNotification {
		return e.appendNotice(dst)
	}
	dst = append(dst, `{"id":"`...)
	dst = e.ID.Append(dst)
	dst = append(dst, `","conversationId":`...)
	dst = appendString(dst, e.Stream.Conversation())
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, `,"type":"`...)
	dst = append(dst, e.Type.String()...)
	dst = append(dst, '"')
	dst = appendField(dst, `,"senderId":`, e.SenderID)
	dst = appendField(dst, `,"userId":`, e.UserID)
	dst = appendField(dst, `,"name":`, e.Name)
	dst = appendNumber(dst, `,"target":`, e.Target)
	if !e.Deleted {
		dst = appendField(dst, `,"content":`, e.Content)
		dst = appendField(dst, `,"mediaUrl":`, e.MediaURL)
		dst = appendNumber(dst, `,"replyTo":`, e.ReplyTo)
		dst = appendList(dst, `,"mentions":`, e.Mentions)
		dst = appendField(dst, `,"emoji":`, e.Emoji)
		dst = appendTrue(dst, `,"remove":true`, e.Remove)
	}
	dst = appendField(dst, `,"clientId":`, e.ClientID)
	dst = appendTrue(dst, `,"deleted":true`, e.Deleted)
	dst = append(dst, `,"createdAt":"`...)
	dst = AppendTime(dst, e.CreatedAt)
	return append(dst, `"}`...)
}

// Problem is the payload of users/<u>/errors.
type Problem struct {
	Code     Code   `json:"code"`
	Message  string `json:"message"`
	Topic    string `json:"topic,omitempty"`
	ClientID string `json:"clientId,omitempty"`
	First    uint64 `json:"first,omitempty"` // with CodeHistoryTrimmed: where the stream begins now
}

// AppendJSON appends the JSON of the problem to dst.
func (p Problem) AppendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"code":`...), string(p.Code))
	dst = appendString(append(dst, `,"message":`...), p.Message)
	dst = appendField(dst, `,"topic":`, p.Topic)
	dst = appendField(dst, `,"clientId":`, p.ClientID)
	dst = appendNumber(dst, `,"first":`, p.First)
	return append(dst, '}')
}

func appendField(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, key...), value)
}

func appendNumber(dst []byte, key string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, key...), n, 10)
}

func appendTrue(dst []byte, field string, is bool) []byte {
	if !is {
		return dst
	}
	return append(dst, field...)
}

func appendList(dst []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(append(dst, key...), '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// appendString appends a JSON string, as encoding/json writes it without
// EscapeHTML: "<3" should cost a thin link two bytes, not seven.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = appendEscape(append(dst, s[from:i]...), c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(append(dst, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029': // they end a line in JavaScript
			dst = append(append(dst, s[from:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&15])
			from = i + n
		}
		i += n
	}
	return append(append(dst, s[from:]...), '"')
}

const hexDigits = "0123456789abcdef"

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
