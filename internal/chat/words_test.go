package chat

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func wordsOf(text string) []string {
	var w Words
	words := []string{}
	for _, word := range w.Of(text) {
		words = append(words, string(word))
	}
	return words
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string // want is in the order of bytes, with blanks
	}{
		{"nothing", "", ""},
		{"no word in it", " \t…!?—👍🏽❤️🇦🇹\u0301\x00", ""},
		{"English", "Don't  panic, DON'T!", "don panic t"},
		{"digits", "2 of 22 in 2026-11-23 v1.0", "0 11 2 2026 22 23 in of v1"},
		{"what parts words", "a_b/c:d@e.f+g'h\"i\\j", "a b c d e f g h i j"},
		{"German", "Straße STRASSE STRAẞE GRÜSSE Öl", "grüsse strasse öl"},
		{"Turkish", "ISPARTA İzmir ısparta", "isparta izmir"},
		{"a dot that i has", "I\u0307Z iż", "iz iż"},
		{"Greek with a final sigma", "Ο ΟΔΥΣΣΕΥΣ οδυσσευς οδυσσευσ", "ο οδυσσευσ"},
		{"Russian", "Мой МОЙ мои ёлка", "ёлка мои мой"},
		{"Arabic with marks and stretched", "مُحَمَّد محـــمد", "محمد"},
		{"Arabic with a hamza on its letter", "أحمد", "احمد"},
		{"Hebrew with points", "שָׁלוֹם", "שלום"},
		{"Persian with a joiner's opposite", "می\u200cخواهم", "میخواهم"},
		{"Hindi", "हिन्दी में लिखो", "में लिखो हिन्दी"},
		{"Tamil", "\u0b95\u0bca \u0b95\u0bc6\u0bbe", "\u0b95\u0bbe\u0bc6"},
		{"Chinese", "我爱北京。", "京 北 我 爱"},
		{"Japanese", "コーヒーが好きです", "か\u3099 き す て\u3099 コ ヒ ー 好"},
		{"Korean", "안녕하세요 여러분", "안녕하세요 여러분"},
		{"Korean in letters", norm.NFD.String("각하"), "각하"},
		{"Thai", "ที่นี่", "ที\u0e48 นี\u0e48"},
		{"scripts side by side", "iPhone買う abcคd", "abc d iphone う ค 買"},
		{"as wide as an ideograph", "ＡＢＣ１２！ｘ", "abc12 x"},
		{"superscripts and fractions", "m² ½", "m² ½"},
		{"accents in and behind the letter", "café cafe\u0301 cafe ệ e\u0302\u0323 ẹ\u0302", "cafe cafe\u0301 e\u0302\u0323"},
		{"soft hyphen", "Donau\u00addampf", "donaudampf"},
		{"not UTF-8", "ab\xffcd", "ab cd"},
		{"Kelvin and long s", "\u212a ſ", "k s"},
		{"keycap", "1\ufe0f\u20e3", "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.Fields(norm.NFD.String(tt.want))
			if strings.ContainsFunc(tt.want, func(r rune) bool { return unicode.Is(unicode.Hangul, r) }) {
				want = strings.Fields(tt.want)
			}
			// Marks have an order of their own, and those of Thai are no
			// exception.
			if got := wordsOf(tt.text); !sameWords(got, want) {
				t.Errorf("%q has the words %q, want %q", tt.text, got, want)
			}
		})
	}
}

func sameWords(a, b []string) bool {
	return len(a) == len(b) && slices.Equal(marksInOrder(a), marksInOrder(b))
}

// marksInOrder sorts the marks behind each letter, and then the words.
func marksInOrder(words []string) []string {
	var all []string
	for _, word := range words {
		rs := []rune(word)
		for i := 0; i < len(rs); i++ {
			n := i
			for n < len(rs) && unicode.IsMark(rs[n]) {
				n++
			}
			slices.Sort(rs[i:n])
			i = max(i, n-1)
		}
		all = append(all, string(rs))
	}
	slices.Sort(all)
	return all
}

func TestWordsAreBounded(t *testing.T) {
	long := strings.Repeat("a", MaxWord-1)
	for text, want := range map[string]string{
		long + "bcd":                 long + "b",
		long + "ü":                   long + "u",
		long + "ж" + "b":             long, // what comes behind what has no place has none
		strings.Repeat("ж", MaxWord): strings.Repeat("ж", MaxWord/2),
		"a" + strings.Repeat("\u0301", MaxContent): "a" + strings.Repeat("\u0301", 8),
	} {
		if got := wordsOf(text); !slices.Equal(got, []string{want}) {
			t.Errorf("%.20q… has the words %q, want %q", text, got, want)
		}
	}
	var many, again strings.Builder
	for i := range 2 * MaxWords {
		fmt.Fprintf(&many, "w%d ", i)
		fmt.Fprintf(&again, "w%d ", i%(MaxWords-1))
	}
	if got := wordsOf(many.String()); len(got) != MaxWords || !slices.Contains(got, "w0") || slices.Contains(got, "w1500") {
		t.Errorf("%d words of a text of many", len(got))
	}
	if got := wordsOf(again.String() + "end"); len(got) != MaxWords || !slices.Contains(got, "end") {
		t.Errorf("%d words of a text that repeats words: they must not use up the room", len(got))
	}
}

// TestParts holds the table of composed letters against Unicode's data.
func TestParts(t *testing.T) {
	for r := rune(0xC0); r < 0x3100; r++ {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) || unicode.IsLetter(r) && foldCase(r) != r || unicode.Is(ignored, r) {
			continue
		}
		var w Words
		got := append([]rune{w.base(r)}, w.marks...)
		var want []rune
		for i, c := range []rune(norm.NFD.String(string(r))) {
			if i == 0 || !unicode.Is(ignored, c) {
				want = append(want, c)
			}
		}
		slices.Sort(want[1:])
		if !slices.Equal(got, want) {
			t.Errorf("%U is made of %U, want %U", r, got, want)
		}
	}
}

func TestParseQuery(t *testing.T) {
	for _, q := range []string{"", "  ", "👍", "'\"&|!()*:", strings.Repeat("a ", MaxQuery), "a\xff"} {
		_, err := ParseQuery(q)
		wantTyped(t, err)
		if e, _ := AsError(err); e.Code != CodeInvalid || e.Field != "q" {
			t.Errorf("%.20q: %#v", q, err)
		}
	}
	if got, err := ParseQuery("b:* & !A | 'b'"); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzWords: the words of a text are found again by each of them, in whatever
// case and form; nothing in a word means anything to a database.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"", "Don't panic", "ΟΔΥΣΣΕΥΣ", "مُحَمَّد", "हिन्दी", "コーヒー", "ที่นี่", "각하", "e\u0302\u0323", "\u0344", "İı", "1\ufe0f\u20e3", "ab\xffc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > MaxPayload {
			return
		}
		var w, other Words
		words := w.Of(text)
		if len(words) > MaxWords || !slices.IsSortedFunc(words, slices.Compare) {
			t.Fatalf("%q: %d words, or out of order", text, len(words))
		}
		for i, word := range words {
			if len(word) == 0 || len(word) > MaxWord || !utf8.Valid(word) || i > 0 && string(word) == string(words[i-1]) {
				t.Fatalf("%q has the word %q", text, word)
			}
			for _, r := range string(word) {
				if r < utf8.RuneSelf && asciiWord[r] != byte(r) || unicode.IsSpace(r) || unicode.IsControl(r) {
					t.Fatalf("%q has the word %q with %q", text, word, r)
				}
			}
			if again := other.Of(string(word)); len(again) != 1 || string(again[0]) != string(word) {
				t.Fatalf("%q has the word %q, which has the words %q", text, word, again)
			}
		}
		if len(text) > 2000 || len(words) == MaxWords || !utf8.ValidString(text) {
			return // a form may be longer, and be cut elsewhere
		}
		for _, r := range text {
			if r >= 0x3100 && !unicode.Is(unicode.Hangul, r) && !norm.NFD.IsNormalString(string(r)) {
				return // double ideographs, and what is rarer still, are not in the table
			}
		}
		for name, form := range map[string]string{"NFC": norm.NFC.String(text), "NFD": norm.NFD.String(text)} {
			if again := other.Of(form); !slices.EqualFunc(again, words, slices.Equal) {
				t.Fatalf("%q has the words %q, in %s %q", text, words, name, again)
			}
		}
	})
}

func BenchmarkWords(b *testing.B) {
	for name, text := range map[string]string{
		"English":  "A message of a hundred bytes or so, which is what people write to each other when they have some time.",
		"Russian":  "Сообщение примерно в сто байт, какие люди пишут друг другу, когда у них есть немного времени",
		"Chinese":  "大约一百字节的消息，人们有时间的时候会互相写这样的消息",
		"one word": "hi",
	} {
		b.Run(name, func(b *testing.B) {
			var w Words
			b.ReportAllocs()
			for b.Loop() {
				w.Of(text)
			}
		})
	}
}
