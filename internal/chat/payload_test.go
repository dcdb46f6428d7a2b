package chat

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeBody(t *testing.T) {
	long := strings.Repeat("ü", MaxContent/2)
	for _, c := range []struct {
		name, payload string
		want          Body
	}{
		{"contract's message", `{"content": "hi", "mediaUrl": "https://a/b.png", "replyTo": 41, "clientId": "a-1", "mentions": ["bob"]}`,
			Body{Type: TypeMessage, Content: "hi", MediaURL: "https://a/b.png", ReplyTo: 41, ClientID: "a-1", Mentions: []string{"bob"}}},
		{"contract's edit", `{"type": "edit", "target": 42, "content": "hi!", "clientId": "a-2"}`,
			Body{Type: TypeEdit, Target: 42, Content: "hi!", ClientID: "a-2"}},
		{"contract's delete", `{"type": "delete", "target": 42}`, Body{Type: TypeDelete, Target: 42}},
		{"contract's reaction", `{"type": "reaction", "target": 42, "emoji": "👍", "remove": false}`,
			Body{Type: TypeReaction, Target: 42, Emoji: "👍"}},
		{"reaction taken back", `{"remove":true,"emoji":"👍","target":1,"type":"reaction","clientId":"x"}`,
			Body{Type: TypeReaction, Target: 1, Emoji: "👍", Remove: true, ClientID: "x"}},
		{"type named", `{"type":"message","content":"hi"}`, Body{Type: TypeMessage, Content: "hi"}},
		{"media alone", `{"mediaUrl":"http://a/b"}`, Body{Type: TypeMessage, MediaURL: "http://a/b"}},
		{"media with empty content", `{"mediaUrl":"http://a/b","content":""}`, Body{Type: TypeMessage, MediaURL: "http://a/b"}},
		{"no mentions", `{"content":"a","mentions":[ ]}`, Body{Type: TypeMessage, Content: "a"}},
		{"white space between", "{ \"content\"\t:\r\n\"a\" , \"mentions\" : [ \"a\" , \"b\" ] } \n",
			Body{Type: TypeMessage, Content: "a", Mentions: []string{"a", "b"}}},
		{"escapes", `{"content":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDC4d"}`,
			Body{Type: TypeMessage, Content: "\"\\/\b\f\n\r\té👍"}},
		{"escapes behind text", `{"content":"naïve \u2028 text"}`, Body{Type: TypeMessage, Content: "naïve \u2028 text"}},
		{"lone surrogates", `{"content":"\ud800 \udc00\ud800\u0041"}`, Body{Type: TypeMessage, Content: "\ufffd \ufffd\ufffdA"}},
		{"escaped key", `{"\u0063ontent":"a"}`, Body{Type: TypeMessage, Content: "a"}},
		{"largest content", `{"content":"` + long + `"}`, Body{Type: TypeMessage, Content: long}},
		{"largest seq", `{"type":"delete","target":9223372036854775807}`, Body{Type: TypeDelete, Target: 1<<63 - 1}},
		{"plain text", "hi", Body{Type: TypeMessage, Content: "hi"}},
		{"plain text with white space", " hi\n", Body{Type: TypeMessage, Content: " hi\n"}},
		{"white space before an object is text", ` {"content":"a"}`, Body{Type: TypeMessage, Content: ` {"content":"a"}`}},
		{"a list is text", `["a"]`, Body{Type: TypeMessage, Content: `["a"]`}},
		{"largest plain text", long, Body{Type: TypeMessage, Content: long}},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := []byte(c.payload)
			got, err := DecodeBody(payload, false)
			clear(payload) // the body must not share memory with the payload
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	// With the MQTT 5 content type text/plain everything is text.
	if got, err := DecodeBody([]byte(`{"content":1}`), true); err != nil || got.Content != `{"content":1}` || got.Type != TypeMessage {
		t.Errorf("text/plain: %+v, %v", got, err)
	}
}

// many is a list of n strings.
func many(n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(`"bob",`, n), ",") + "]"
}

// refusal is a payload that DecodeBody refuses, and the field that it names.
type refusal struct{ name, payload, field string }

func runRefusals(t *testing.T, list []refusal) {
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeBody([]byte(c.payload), false)
			wantRefusal(t, err, CodeInvalid, c.field)
			if !reflect.DeepEqual(got, Body{}) {
				t.Errorf("with the error comes %+v", got)
			}
		})
	}
}

// tooLong is a byte more than a text may have.
var tooLong = strings.Repeat("x", MaxContent+1)

func TestDecodeBodyRefusesText(t *testing.T) {
	runRefusals(t, []refusal{
		{"empty", "", "content"},
		{"oversized", strings.Repeat("x", MaxPayload+1), "payload"},
		{"oversized object", "{" + strings.Repeat(" ", MaxPayload) + "}", "payload"},
		{"not UTF-8", "a\xff", "payload"},
		{"object not UTF-8", `{"content":"` + "\xc3\x28" + `"}`, "payload"},
		{"surrogates in UTF-8", `{"content":"` + "\xed\xa0\x80" + `"}`, "payload"},
		{"overlong UTF-8", "\xc0\x80", "payload"},
		{"plain text too long", tooLong, "content"},
		{"plain text of NUL", "a\x00b", "content"},
		{"plain text of white space", " \t\r\n", "content"},
	})
	_, err := DecodeBody(nil, true)
	wantRefusal(t, err, CodeInvalid, "content")
}

func TestDecodeBodyRefusesSyntax(t *testing.T) {
	runRefusals(t, []refusal{
		{"not closed", `{"content":"a"`, "payload"},
		{"open brace", `{`, "payload"},
		{"two objects", `{"content":"a"}{}`, "payload"},
		{"text behind", `{"content":"a"} x`, "payload"},
		{"NUL behind", `{"content":"a"}` + "\x00", "payload"},
		{"comma at the end", `{"content":"a",}`, "payload"},
		{"no comma", `{"content":"a" "replyTo":1}`, "payload"},
		{"no colon", `{"content" "a"}`, "payload"},
		{"single quotes", `{'content':'a'}`, "payload"},
		{"key without quotes", `{content:"a"}`, "payload"},
		{"number as key", `{1:"a"}`, "payload"},
		{"other white space", "{\u00a0\"content\":\"a\"}", "payload"},
		{"byte order mark in the object", "{\ufeff\"content\":\"a\"}", "payload"},
		{"key not closed", `{"content`, "payload"},
		{"line feed in a key", "{\"con\ntent\":\"a\"}", "payload"},
		{"bad escape in a key", `{"\x":"a"}`, "payload"},
	})
}

func TestDecodeBodyRefusesKeys(t *testing.T) {
	runRefusals(t, []refusal{
		{"unknown key", `{"content":"a","colour":"red"}`, "colour"},
		{"key in another case", `{"Content":"a"}`, "Content"},
		{"empty key", `{"content":"a","":1}`, ""},
		{"long unknown key", `{"` + strings.Repeat("k", MaxID+1) + `":1}`, "payload"},
		{"key twice", `{"content":"a","content":"a"}`, "content"},
		{"key twice, once escaped", `{"content":"a","\u0063ontent":"b"}`, "content"},
		{"type twice", `{"type":"edit","target":1,"content":"a","type":"message"}`, "type"},
		{"senderId", `{"content":"a","senderId":"bob"}`, "senderId"},
		{"target of a message", `{"content":"a","target":1}`, "target"},
		{"emoji of a message", `{"content":"a","emoji":"x"}`, "emoji"},
		{"remove of a message", `{"content":"a","remove":true}`, "remove"},
		{"mediaUrl of an edit", `{"type":"edit","target":1,"content":"a","mediaUrl":"http://a"}`, "mediaUrl"},
		{"replyTo of an edit", `{"replyTo":1,"type":"edit","target":1,"content":"a"}`, "replyTo"},
		{"mentions of an edit", `{"type":"edit","target":1,"content":"a","mentions":[]}`, "mentions"},
		{"content of a delete", `{"type":"delete","target":1,"content":"a"}`, "content"},
		{"emoji of a delete", `{"type":"delete","target":1,"emoji":"a"}`, "emoji"},
		{"content of a reaction", `{"type":"reaction","target":1,"emoji":"a","content":"a"}`, "content"},
	})
}

func TestDecodeBodyRefusesValues(t *testing.T) {
	runRefusals(t, []refusal{
		{"type of the server", `{"type":"join","userId":"bob"}`, "type"},
		{"type in another case", `{"type":"Edit","target":1,"content":"a"}`, "type"},
		{"empty type", `{"type":"","content":"a"}`, "type"},
		{"type null", `{"type":null,"content":"a"}`, "type"},
		{"content null", `{"content":null}`, "content"},
		{"mediaUrl null", `{"content":"a","mediaUrl":null}`, "mediaUrl"},
		{"replyTo null", `{"content":"a","replyTo":null}`, "replyTo"},
		{"mentions null", `{"content":"a","mentions":null}`, "mentions"},
		{"clientId null", `{"content":"a","clientId":null}`, "clientId"},
		{"remove null", `{"type":"reaction","target":1,"emoji":"a","remove":null}`, "remove"},
		{"content a number", `{"content":1}`, "content"},
		{"content an object", `{"content":{"a":"b"}}`, "content"},
		{"content a list", `{"content":["a"]}`, "content"},
		{"content missing a quote", `{"content":"a}`, "content"},
		{"content with a line feed", "{\"content\":\"a\nb\"}", "content"},
		{"content with a line feed behind an escape", "{\"content\":\"\\t\n\"}", "content"},
		{"content with a bad escape", `{"content":"\x"}`, "content"},
		{"content with half an escape", `{"content":"\`, "content"},
		{"content with half a \\u", `{"content":"\u00e"}`, "content"},
		{"content with a cut \\u", `{"content":"\u00`, "content"},
		{"content cut behind an escape", `{"content":"\n`, "content"},
		{"type a number", `{"type":1,"content":"a"}`, "type"},
		{"mediaUrl a list", `{"mediaUrl":["http://a"]}`, "mediaUrl"},
		{"clientId a number", `{"content":"a","clientId":7}`, "clientId"},
		{"emoji a number", `{"type":"reaction","target":1,"emoji":7}`, "emoji"},
		{"remove a string", `{"type":"reaction","target":1,"emoji":"a","remove":"true"}`, "remove"},
		{"remove a number", `{"type":"reaction","target":1,"emoji":"a","remove":1}`, "remove"},
		{"no value", `{"remove":`, "remove"},
		{"mentions a string", `{"content":"a","mentions":"bob"}`, "mentions"},
		{"mentions of numbers", `{"content":"a","mentions":[1]}`, "mentions"},
		{"mentions of null", `{"content":"a","mentions":[null]}`, "mentions"},
		{"mentions with a comma at the end", `{"content":"a","mentions":["bob",]}`, "mentions"},
		{"mentions without a comma", `{"content":"a","mentions":["bob" "eve"]}`, "payload"},
		{"mentions not closed", `{"content":"a","mentions":["bob"`, "payload"},
	})
}

func TestDecodeBodyRefusesLimits(t *testing.T) {
	runRefusals(t, []refusal{
		{"no content", `{}`, "content"},
		{"empty content", `{"content":""}`, "content"},
		{"content too long", `{"content":"` + tooLong + `"}`, "content"},
		{"content too long with media", `{"content":"` + tooLong + `","mediaUrl":"http://a"}`, "content"},
		{"content with NUL", `{"content":"a\u0000"}`, "content"},
		{"white space with media", `{"content":" ","mediaUrl":"http://a"}`, "content"},
		{"edit to nothing", `{"type":"edit","target":1}`, "content"},
		{"edit to white space", `{"type":"edit","target":1,"content":"\n"}`, "content"},
		{"edit too long", `{"type":"edit","target":1,"content":"` + tooLong + `"}`, "content"},
		{"edit without a target", `{"type":"edit","content":"a"}`, "target"},
		{"delete without a target", `{"type":"delete"}`, "target"},
		{"reaction without a target", `{"type":"reaction","emoji":"a"}`, "target"},
		{"reaction without an emoji", `{"type":"reaction","target":1}`, "emoji"},
		{"emoji too long", `{"type":"reaction","target":1,"emoji":"` + strings.Repeat("x", MaxEmoji+1) + `"}`, "emoji"},
		{"emoji of white space", `{"type":"reaction","target":1,"emoji":" "}`, "emoji"},
		{"emoji with NUL", `{"type":"reaction","target":1,"emoji":"a\u0000"}`, "emoji"},
		{"too many mentions", `{"content":"a","mentions":` + many(MaxMentions+1) + `}`, "mentions"},
		{"mention that is no id", `{"content":"a","mentions":["bob","e v e"]}`, "mentions"},
		{"empty mention", `{"content":"a","mentions":[""]}`, "mentions"},
		{"clientId empty", `{"content":"a","clientId":""}`, "clientId"},
		{"clientId too long", `{"content":"a","clientId":"` + strings.Repeat("x", MaxID+1) + `"}`, "clientId"},
		{"clientId with a slash", `{"content":"a","clientId":"a/b"}`, "clientId"},
	})
}

// White space is what Unicode says it is, in every script.
func TestDecodeBodyWhiteSpace(t *testing.T) {
	for _, r := range "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000" {
		if _, err := DecodeBody([]byte(string(r)), true); err == nil {
			t.Errorf("%U alone is accepted", r)
		}
		if _, err := DecodeBody([]byte(string(r)+"字"), true); err != nil {
			t.Errorf("%U with a letter: %v", r, err)
		}
		payload := fmt.Sprintf(`{"content":"%[1]s \u3000%[1]s"}`, escapeControl(r))
		_, err := DecodeBody([]byte(payload), false)
		wantRefusal(t, err, CodeInvalid, "content")
	}
}

func escapeControl(r rune) string {
	if r < ' ' {
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}

func TestDecodeBodyMediaURL(t *testing.T) {
	pad := func(n int) string { return "http://a/" + strings.Repeat("x", n-len("http://a/")) }
	for _, u := range []string{"http://a", "https://example.com/a/b.png?x=1#y", "HTTPS://EXAMPLE.COM", "http://[::1]:8080/x",
		"http://u:p@h/", "https://bücher.example/ü", pad(MaxMediaURL)} {
		if got, err := DecodeBody([]byte(`{"mediaUrl":"`+u+`"}`), false); err != nil || got.MediaURL != u {
			t.Errorf("%.40s: %v", u, err)
		}
	}
	for _, u := range []string{"ftp://a/b", "javascript:alert(1)", "data:text/plain,x", "file:///etc/passwd", "//a/b", "/a", "a",
		"http:", "http://", "http:///x", "http://:80/", "https:a", " http://a", `http://a\u0000`, "http://a b/", "http://[::1/", pad(MaxMediaURL + 1)} {
		_, err := DecodeBody([]byte(`{"content":"a","mediaUrl":"`+u+`"}`), false)
		if err == nil {
			t.Errorf("%.40s is accepted", u)
			continue
		}
		wantRefusal(t, err, CodeInvalid, "mediaUrl")
	}
}

// badSeqs are no numbers of entries.
var badSeqs = []string{"-1", "1.0", "1e2", "1.5", "01", "+1", "0x10", "９", "1 2", `"1"`, "true", "[1]", "{}", "9223372036854775808",
	"18446744073709551616", "99999999999999999999", "-0", "NaN", "1_000", ""}

func TestDecodeBodySeqs(t *testing.T) {
	for _, s := range append(badSeqs, "0") {
		for field, payload := range map[string]string{
			"replyTo": `{"content":"a","replyTo":` + s + `}`,
			"target":  `{"type":"delete","target":` + s + `}`,
		} {
			if _, err := DecodeBody([]byte(payload), false); err == nil {
				t.Errorf("%s: accepted", payload)
			} else if e, _ := AsError(err); e.Code != CodeInvalid || e.Field != field && e.Field != "payload" {
				t.Errorf("%s: got code %q, field %q", payload, e.Code, e.Field)
			}
		}
	}
}

func TestDecodeReplay(t *testing.T) {
	for payload, want := range map[string]uint64{
		`{"after": 12}`:                 12,
		`{"after":0}`:                   0,
		" {\"after\":\n1 } ":            1,
		`{"after":9223372036854775807}`: 1<<63 - 1,
		`{"\u0061fter":3}`:              3,
	} {
		if got, err := DecodeReplay([]byte(payload)); err != nil || got != want {
			t.Errorf("%s: got %d, %v", payload, got, err)
		}
	}
	cases := map[string]string{
		"": "payload", "12": "payload", "[]": "payload", "null": "payload", "{}": "after", `{"after":1}x`: "payload",
		`{"after":1,"after":1}`: "after", `{"after":1,"limit":1}`: "limit", `{"After":1}`: "After", `{"after":null}`: "after",
		"{\"after\":1,\"\xff\":1}": "payload", `{"after":1`: "payload", `{"after"`: "payload",
	}
	for payload, field := range cases {
		_, err := DecodeReplay([]byte(payload))
		t.Run(payload, func(t *testing.T) { wantRefusal(t, err, CodeInvalid, field) })
	}
	for _, s := range badSeqs {
		if n, err := DecodeReplay([]byte(`{"after":` + s + `}`)); err == nil {
			t.Errorf("%q is read as %d", s, n)
		}
	}
}

func TestParseSeq(t *testing.T) {
	for s, want := range map[string]uint64{"0": 0, "7": 7, "007": 7, "9223372036854775807": 1<<63 - 1} {
		if got, err := ParseSeq("before", s); err != nil || got != want {
			t.Errorf("%s: got %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-1", "+1", " 1", "1 ", "1.0", "x", "9223372036854775808", "9999999999999999999", "00000000000000000001"} {
		_, err := ParseSeq("before", s)
		wantRefusal(t, err, CodeInvalid, "before")
	}
}

func TestCheckName(t *testing.T) {
	for _, s := range []string{"", "team", " a ", strings.Repeat("x", MaxName)} {
		if err := CheckName(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{" ", "\u3000", "a\x00", "\xff", strings.Repeat("x", MaxName+1)} {
		wantRefusal(t, CheckName(s), CodeInvalid, "name")
	}
}

func TestDecodeBodyAllocates(t *testing.T) {
	plain := []byte("see you at eight")
	for _, c := range []struct {
		name    string
		payload []byte
		bound   float64
	}{{"typical", typical, 2}, {"plain", plain, 1}} {
		got := testing.AllocsPerRun(100, func() {
			if _, err := DecodeBody(c.payload, false); err != nil {
				t.Fatal(err)
			}
		})
		if got > c.bound {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.bound)
		}
	}
}
