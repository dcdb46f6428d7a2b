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

var (
	cursorText = base64.RawURLEncoding.Strict()
	errCursor  = chat.Invalid("cursor", "must be the nextCursor of an answer")
)

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
	if len(cursor) > cursorText.EncodedLen(cursorHead+chat.MaxID) {
		return bridge.Page{}, errCursor
	}
	b, err := cursorText.DecodeString(cursor)
	if err != nil || len(b) < cursorHead || b[0] != cursorVersion {
		return bridge.Page{}, errCursor
	}
	ms, id := binary.BigEndian.Uint64(b[1:]), string(b[cursorHead:])
	if ms > maxCursorTime || !chat.ValidID(id) {
		return bridge.Page{}, errCursor
	}
	return bridge.Page{LastAt: time.UnixMilli(int64(ms)).UTC(), ID: id}, nil
}

// A cursor may also be a place by its seq: another version, and the seq.
const seqCursorVersion = 2

func seqCursor(seq uint64) string {
	return cursorText.EncodeToString(binary.BigEndian.AppendUint64([]byte{seqCursorVersion}, seq))
}

// parseSeqCursor reads such a cursor; "" is 0.
func parseSeqCursor(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	b, err := cursorText.DecodeString(cursor[:min(len(cursor), 2*cursorHead)])
	if err != nil || len(b) != cursorHead || b[0] != seqCursorVersion {
		return 0, errCursor
	}
	return binary.BigEndian.Uint64(b[1:]), nil
}

// A cursor may also be a user: another version, and the id.
const userCursorVersion = 3

func userCursor(user string) string {
	return cursorText.EncodeToString(append([]byte{userCursorVersion}, user...))
}

// parseUserCursor reads such a cursor; "" is "".
func parseUserCursor(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	if len(cursor) > cursorText.EncodedLen(1+chat.MaxID) {
		return "", errCursor
	}
	b, err := cursorText.DecodeString(cursor)
	if err != nil || len(b) < 2 || b[0] != userCursorVersion || !chat.ValidID(string(b[1:])) {
		return "", errCursor
	}
	return string(b[1:]), nil
}
