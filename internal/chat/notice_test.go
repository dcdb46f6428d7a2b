package chat

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeNotices(t *testing.T) {
	full := `{"recipientId":"bob","senderId":"alice","type":"a.B_c:d-1","data":{ "x" : [1, "}\"]"], "y":{"z":null} },"collapse":"like:p1","clientId":"l-1"}`
	want := Draft{Stream: "n/bob", SenderID: "alice", Body: Body{Type: TypeNotification, ClientID: "l-1",
		Notice: &Notice{Type: "a.B_c:d-1", Data: []byte(`{"x":[1,"}\"]"],"y":{"z":null}}`), Collapse: "like:p1"}}}
	short := `{"type":"x","recipientId":"carol","data":{ }}`
	wantShort := Draft{Stream: "n/carol", SenderID: "herald", Body: Body{Type: TypeNotification, Notice: &Notice{Type: "x"}}}
	for _, tt := range []struct {
		payload string
		batch   bool
		want    []Draft
	}{
		{full, false, []Draft{want}}, {" \n" + short + " ", false, []Draft{wantShort}},
		{"[" + full + "]", true, []Draft{want}}, {" [ " + short + " , " + full + " ] ", true, []Draft{wantShort, want}},
		{`{"items":[` + full + `,` + short + `]}`, true, []Draft{want, wantShort}}, {`{ "items" : [ ` + short + ` ] }`, true, []Draft{wantShort}},
	} {
		got, batch, err := DecodeNotices([]byte(tt.payload), "herald")
		if err != nil || batch != tt.batch || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v, %v, %v\nwant %+v, %v", tt.payload, got, batch, err, tt.want, tt.batch)
		}
	}
}

func TestDecodeNoticesRefuses(t *testing.T) {
	good := `{"recipientId":"bob","type":"x"}`
	rows := map[string]string{
		``: "payload", `1`: "payload", `{`: "payload", `[` + good: "payload", good + good: "payload", `[]`: "items", `{"items":[]}`: "items",
		`{"items":{}}`: "items", `{"items":[` + good + `],"items":[]}`: "items", `{"items":[` + good + `],"z":1}`: "z",
		`[` + good + `,1]`: "items[1]", `[` + good + `,{}]`: "items[1].recipientId", `[` + good + `,{"type":1}]`: "items[1].type",
		`[` + strings.Repeat(good+",", MaxNotices) + good + `]`:                                        "items",
		`{"recipientId":"bob","type":"x","data":{"a":"` + strings.Repeat("x", MaxNoticeData-7) + `"}}`: "data",
		`{"recipientId":"bob","type":"x","collapse":" "}`:                                              "collapse",
		`{"recipientId":"bob","type":"x","y":{"a":[1]}}`:                                               "y",
		strings.Repeat(" ", MaxNoticePayload) + good:                                                   "payload",
	}
	for payload, field := range rows {
		_, _, err := DecodeNotices([]byte(payload), "herald")
		e, ok := AsError(err)
		if !ok || e.Code != CodeInvalid || e.Field != field {
			t.Errorf("%.80s: %v of %q, want one of %q", payload, err, e.Field, field)
		}
	}
	if _, _, err := DecodeNotices([]byte(`{"recipientId":"bob","type":"x","data":{"a":"`+strings.Repeat("x", MaxNoticeData-8)+`"}}`), ""); err != nil {
		t.Errorf("data of just the most: %v", err)
	}
}

// FuzzDecodeNotices: what is taken is what encoding/json reads in it.
func FuzzDecodeNotices(f *testing.F) {
	f.Add([]byte(`[{"recipientId":"bob","type":"x","data":{"a":[{"b":"\"]}"}]},"collapse":"k"},{"recipientId":"b","type":"y"}]`))
	f.Add([]byte(`{"items":[{"recipientId":"bob","type":"x","data":{}}]}`))
	f.Add([]byte(`{"recipientId":"b\u006fb","senderId":"a","clientId":"c","type":"x","data":{"\u0000":-1.5e3}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		drafts, batch, err := DecodeNotices(payload, "herald")
		if err != nil {
			if _, ok := AsError(err); !ok {
				t.Fatalf("%v is not for the caller", err)
			}
			return
		}
		type plain struct {
			RecipientID, SenderID, Type, Collapse, ClientID string
			Data                                            json.RawMessage
		}
		var list []plain
		switch trimmed := bytes.TrimLeft(payload, " \t\r\n"); {
		case !batch:
			list = make([]plain, 1)
			err = json.Unmarshal(payload, &list[0])
		case trimmed[0] == '[':
			err = json.Unmarshal(payload, &list)
		default:
			var b struct{ Items []plain }
			err = json.Unmarshal(payload, &b)
			list = b.Items
		}
		if err != nil || len(list) != len(drafts) {
			t.Fatalf("%d drafts of %d: %v", len(drafts), len(list), err)
		}
		for i, d := range drafts {
			p := list[i]
			if p.SenderID == "" {
				p.SenderID = "herald"
			}
			if d.Stream != NotificationStream(p.RecipientID) || d.SenderID != p.SenderID || d.Notice.Type != p.Type ||
				d.Notice.Collapse != p.Collapse || d.ClientID != p.ClientID {
				t.Errorf("got %+v of %+v", d, p)
			}
			if len(d.Notice.Data) > 0 && !json.Valid(d.Notice.Data) {
				t.Errorf("data %s", d.Notice.Data)
			}
			e := Entry{Stream: d.Stream, SenderID: d.SenderID, Body: d.Body}
			if text := e.AppendJSON(nil); !json.Valid(text) {
				t.Errorf("not JSON: %s", text)
			}
		}
	})
}

func TestDecodeReadMarks(t *testing.T) {
	const one, two = "019aa8f1-6f43-7c1e-8a55-0d1b6a4f2c11", "019AA8F1-6F43-7C1E-8A55-0D1B6A4F2C12"
	id1, _ := ParseID(one)
	id2, _ := ParseID(two)
	for payload, want := range map[string]ReadMarks{
		`{"ids":["` + one + `","` + two + `"]}`: {IDs: []ID{id1, id2}}, `{"ids":[]}`: {IDs: []ID{}},
		`{"upTo":9}`: {UpTo: 9}, ` {"all": true} `: {All: true},
	} {
		if got, err := DecodeReadMarks([]byte(payload)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", payload, got, err)
		}
	}
	for payload, field := range map[string]string{
		``: "payload", `{}`: "payload", `[]`: "payload", `{"ids":"x"}`: "ids", `{"ids":["` + one[1:] + `"]}`: "ids",
		`{"ids":["` + strings.Replace(one, "-", "0", 1) + `"]}`: "ids", `{"ids":["` + strings.Replace(one, "9", "g", 1) + `"]}`: "ids",
		`{"upTo":1.5}`: "upTo", `{"all":false}`: "all", `{"all":true,"ids":[]}`: "ids", `{"up":1}`: "up", `{"all":true} x`: "payload",
	} {
		_, err := DecodeReadMarks([]byte(payload))
		if e, ok := AsError(err); !ok || e.Field != field {
			t.Errorf("%s: %v, want one of %q", payload, err, field)
		}
	}
}

func TestParseID(t *testing.T) {
	id := ID{0x01, 0x9a, 0xff, 3: 0x10, 15: 0xab}
	if got, ok := ParseID(id.String()); !ok || got != id {
		t.Errorf("%v became %v", id, got)
	}
}

func TestAbout(t *testing.T) {
	for data, want := range map[string]string{
		``: "", `{}`: "", `{"conversationId":"c1","x":1}`: "c1", `{"conversationId":7}`: "", `{"ConversationId":"c1"}`: "", `{"a":{"conversationId":"c1"}}`: "",
	} {
		n := Notice{Data: []byte(data)}
		if got := n.About(); got != want {
			t.Errorf("%s is about %q, want %q", data, got, want)
		}
	}
}
