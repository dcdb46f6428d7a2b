package chat

import (
	"errors"
	"testing"
	"time"
)

func TestDecodeLive(t *testing.T) {
	typing := func(p []byte) (any, error) { v, err := DecodeTyping(p); return v, err }
	status := func(p []byte) (any, error) { v, err := DecodeStatus(p); return v, err }
	receipt := func(p []byte) (any, error) { r, d, err := DecodeReceipt(p); return [2]uint64{r, d}, err }
	tests := []struct {
		decode  func([]byte) (any, error)
		payload string
		want    any
		field   string // of the refusal, "" is none
	}{
		{typing, `{"typing":true}`, true, ""},
		{typing, ` { "typing" : false } `, false, ""},
		{typing, `{}`, nil, "typing"},
		{typing, `{"typing":1}`, nil, "typing"},
		{typing, `{"typing":true,"typing":true}`, nil, "typing"},
		{typing, `{"typing":true,"userId":"bob"}`, nil, "userId"},
		{typing, `true`, nil, "payload"},
		{typing, ``, nil, "payload"},
		{typing, "{\"\xff\":true}", nil, "payload"},
		{status, `{"status":"online"}`, StatusOnline, ""},
		{status, `{"status":"away"}`, StatusAway, ""},
		{status, `{"status":"invisible"}`, StatusInvisible, ""},
		{status, `{"status":"offline"}`, StatusOffline, ""},
		{status, `{"status":"busy"}`, nil, "status"},
		{status, `{"status":null}`, nil, "status"},
		{status, `{}`, nil, "status"},
		{status, `{"status":"online","devices":3}`, nil, "devices"},
		{status, ``, nil, "payload"},
		{receipt, `{"read":17}`, [2]uint64{17, 0}, ""},
		{receipt, `{"delivered":19,"read":17}`, [2]uint64{17, 19}, ""},
		{receipt, `{}`, nil, "read"},
		{receipt, `{"read":-1}`, nil, "read"},
		{receipt, `{"delivered":1.5}`, nil, "delivered"},
		{receipt, `{"read":9223372036854775808}`, nil, "read"},
		{receipt, `{"read":1,"read":2}`, nil, "read"},
		{receipt, `{"seen":1}`, nil, "seen"},
		{receipt, `[1]`, nil, "payload"},
	}
	for _, tt := range tests {
		got, err := tt.decode([]byte(tt.payload))
		var e *Error
		switch {
		case tt.field == "" && (err != nil || got != tt.want):
			t.Errorf("%q: got %v, %v; want %v", tt.payload, got, err, tt.want)
		case tt.field != "" && (!errors.As(err, &e) || e.Code != CodeInvalid || e.Field != tt.field):
			t.Errorf("%q: got %v, want a refusal of %s", tt.payload, err, tt.field)
		}
	}
}

func TestAppendLive(t *testing.T) {
	at := time.Date(2026, 11, 22, 22, 1, 33, 123e6, time.UTC)
	presence := func(p Presence) string { return string(p.AppendJSON(nil)) }
	for _, tt := range []struct{ got, want string }{
		{string(AppendTyping(nil, "alice", true)), `{"userId":"alice","typing":true}`},
		{string(AppendReceipt(nil, "alice", 17, 19, at)), `{"userId":"alice","read":17,"delivered":19,"at":"2026-11-22T22:01:33.123Z"}`},
		{presence(Presence{UserID: "a", Status: StatusOnline, Devices: 2, LastSeen: at}), `{"userId":"a","status":"online","devices":2}`},
		{presence(Presence{UserID: "a", LastSeen: at}), `{"userId":"a","status":"offline","devices":0,"lastSeen":"2026-11-22T22:01:33.123Z"}`},
		{presence(Presence{UserID: "a"}), `{"userId":"a","status":"offline","devices":0}`},
		{string(AppendUnread(nil, 4)), `{"unreadCount":4}`},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}
