package terminal

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/client"
)

// wireTime is a time as the server writes it: always with milliseconds. Go
// leaves out zeros at their end, so that lines would not sort by it.
type wireTime time.Time

const wireFormat = "2006-01-02T15:04:05.000Z"

func (t wireTime) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, wireFormat), nil
}

func (t wireTime) IsZero() bool { return time.Time(t).IsZero() }

// Wire is what makes the JSON of an event or of a Sent, with times as on the
// wire.
func Wire(v any) any {
	switch v := v.(type) {
	case client.Entry:
		return struct {
			client.Entry
			CreatedAt wireTime `json:"createdAt"`
		}{v, wireTime(v.CreatedAt)}
	case client.Sent:
		return struct {
			client.Sent
			CreatedAt wireTime `json:"createdAt"`
		}{v, wireTime(v.CreatedAt)}
	case client.Notification:
		return struct {
			client.Notification
			CreatedAt wireTime `json:"createdAt"`
		}{v, wireTime(v.CreatedAt)}
	case client.Receipt:
		return struct {
			client.Receipt
			At wireTime `json:"at"`
		}{v, wireTime(v.At)}
	case client.Presence:
		return struct {
			client.Presence
			LastSeen wireTime `json:"lastSeen,omitzero"`
		}{v, wireTime(v.LastSeen)}
	}
	return v
}

// JSON makes one line of JSON that a terminal takes as text: encoding/json
// leaves some control characters as they are.
func JSON(v any) ([]byte, error) {
	text, err := json.Marshal(Wire(v))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.Grow(len(text) + 1)
	for _, r := range string(text) {
		if r >= 0x7f && r <= 0x9f {
			const digits = "0123456789abcdef"
			b.WriteString(`\u00`)
			b.WriteByte(digits[r>>4])
			b.WriteByte(digits[r&15])
			continue
		}
		b.WriteRune(r)
	}
	b.WriteByte('\n')
	return []byte(b.String()), nil
}
