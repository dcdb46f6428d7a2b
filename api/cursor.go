package api

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// A cursor is a place in a list of conversations: a version, the time in
// milliseconds and the id, in base64url. Clients hand it back as it came.
const (
	cursorVersion = 1
	cursorHead    = 1 + 8 // bytes before the id

	// maxCursorTime is the end of the year 9999, the last that the stores'
	// times can be.
	maxCursorTime = 253402300799999
)

var cursorText = base64.RawURLEncoding.Strict()

func cursorAfter(s bridge.Summary) string {
	b := append(make([]byte, 0, cursorHead+len(s.ID)), cursorVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(s.LastAt.UnixMilli()))
	return cursorText.EncodeToString(append(b, s.ID...))
}

// parseCursor reads a cursor; "" is the start of the list.
func parseCursor(cursor string) (bridge.Page, error) {
	if cursor == "" {
		return bridge.Page{}, nil
	}
	errBad := chat.Invalid("cursor", "must be the nextCursor of an answer")
	if len(cursor) > cursorText.EncodedLen(cursorHead+chat.MaxID) {
		return bridge.Page{}, errBad
	}
	b, err := cursorText.DecodeString(cursor)
	if err != nil || len(b) < cursorHead || b[0] != cursorVersion {
		return bridge.Page{}, errBad
	}
	ms, id := binary.BigEndian.Uint64(b[1:]), string(b[cursorHead:])
	if ms > maxCursorTime || !chat.ValidID(id) {
		return bridge.Page{}, errBad
	}
	return bridge.Page{LastAt: time.UnixMilli(int64(ms)).UTC(), ID: id}, nil
}
