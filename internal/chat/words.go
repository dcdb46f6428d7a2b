package chat

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"
)

// What a text is searched by. Sizes are in bytes.
const (
	MaxQuery = 256  // the text of a search
	MaxWord  = 64   // a word; of a longer one the beginning counts
	MaxWords = 1000 // different words of one text; further ones do not count
)

// Words finds the words that a text is searched by. The stores index nothing
// else, so that a search answers the same on every database.
//
// A word is a run of letters and digits with their marks, in lower case:
// everything else parts words. Case is folded letter by letter, so that Σ, σ
// and ς are one. A letter that is written with its accent and one that is
// followed by it are the same; one without it is another. Marks that writers
// of Arabic and Hebrew leave out or set as they like do not count. In scripts
// that put no space between words every letter, with its marks, is a word.
//
// The zero value is ready. It is for one goroutine at a time.
type Words struct {
	buf   []byte // the words, one behind the other
	list  [][]byte
	start int    // where the word that is being read begins in buf
	marks []rune // of its last letter, in order; not in buf yet
	lone  bool   // it is a letter of a script without spaces
	cut   bool   // it is as long as a word may be
}

// Of answers the different words of text in the order of their bytes. They
// hold until the next call.
func (w *Words) Of(text string) [][]byte {
	w.buf, w.list, w.start = w.buf[:0], w.list[:0], 0
	for i := 0; i < len(text) && len(w.list) < MaxWords; {
		c := text[i]
		if c < utf8.RuneSelf {
			if c = asciiWord[c]; c == 0 {
				w.end()
			} else {
				w.letter(rune(c), false)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		w.read(r)
		i += n
	}
	w.end()
	w.sort()
	return w.list[:min(len(w.list), MaxWords)]
}

// asciiWord has letters in lower case, and digits, at their places.
var asciiWord = func() (t [utf8.RuneSelf]byte) {
	for c := '0'; c <= '9'; c++ {
		t[c] = byte(c)
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = byte(c), byte(c)
	}
	return t
}()

func (w *Words) sort() {
	slices.SortFunc(w.list, bytes.Compare)
	w.list = slices.CompactFunc(w.list, bytes.Equal)
}

// read takes a rune that is not ASCII.
func (w *Words) read(r rune) {
	switch {
	case r >= 0xFF01 && r <= 0xFF5E: // ASCII as wide as an ideograph
		if c := asciiWord[r-0xFEE0]; c != 0 {
			w.letter(rune(c), false)
			return
		}
		w.end()
	case unicode.Is(ignored, r):
	case r == 0x0307 && bytes.HasSuffix(w.buf[w.start:], []byte("i")): // İ is I with a dot, i has one
	case r == 'ß' || r == 'ẞ': // in capitals it is mostly written SS
		w.letter('s', false)
		w.letter('s', false)
	case unicode.IsMark(r):
		w.mark(r)
	case unicode.IsLetter(r) || unicode.IsNumber(r):
		w.letter(foldCase(r), r >= 0x0E00 && unicode.IsLetter(r) && unicode.In(r, spaceless...))
	default:
		w.end()
	}
}

// foldCase makes one letter of those that differ in case alone.
func foldCase(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }

// spaceless are the scripts that do not part words.
var spaceless = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// ignored are what may stand in a word and does not change it: the soft
// hyphen, joiners, stretchers, what chooses among forms of a letter or an
// emoji, the vowel points and other small marks of Hebrew, Arabic and Syriac.
var ignored = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00AD, 0x00AD, 1}, {0x034F, 0x034F, 1}, {0x0591, 0x05BD, 1}, {0x05BF, 0x05BF, 1}, {0x05C1, 0x05C2, 1},
		{0x05C4, 0x05C5, 1}, {0x05C7, 0x05C7, 1}, {0x0610, 0x061A, 1}, {0x0640, 0x0640, 1}, {0x064B, 0x065F, 1},
		{0x0670, 0x0670, 1}, {0x06D6, 0x06DC, 1}, {0x06DF, 0x06E4, 1}, {0x06E7, 0x06E8, 1}, {0x06EA, 0x06ED, 1},
		{0x0711, 0x0711, 1}, {0x0730, 0x074A, 1}, {0x08CA, 0x08E1, 1}, {0x08E3, 0x08FF, 1}, {0x200C, 0x200F, 1}, {0x202A, 0x202E, 1},
		{0x2060, 0x2064, 1}, {0x2066, 0x2069, 1}, {0x20DD, 0x20E0, 1}, {0x20E2, 0x20E4, 1}, {0xFE00, 0xFE0F, 1}, {0xFEFF, 0xFEFF, 1},
	},
	R32: []unicode.Range32{{0xE0001, 0xE007F, 1}, {0xE0100, 0xE01EF, 1}},
}

// letter takes a letter or digit in lower case. A lone one is a word.
func (w *Words) letter(r rune, lone bool) {
	if lone || w.lone {
		w.end()
		w.lone = lone
	}
	w.writeMarks()
	w.write(w.base(r))
}

// base takes the marks off a letter that has them in it.
func (w *Words) base(r rune) rune {
	for r >= 0x00C0 && r < 0x3100 {
		p, composed := parts[r]
		if !composed {
			break
		}
		if r = p.base; p.mark != 0 {
			w.mark(p.mark)
		}
	}
	return r
}

// mark takes a mark of the last letter. The order of marks depends on how they
// were typed and does not count.
func (w *Words) mark(r rune) {
	const most = 8
	r = w.base(r)
	if unicode.Is(ignored, r) || len(w.marks) == most {
		return
	}
	at, _ := slices.BinarySearch(w.marks, r)
	w.marks = slices.Insert(w.marks, at, r)
}

func (w *Words) writeMarks() {
	if len(w.marks) == 0 {
		return
	}
	for _, r := range w.marks {
		if len(w.buf) > w.start { // else they stand on no letter
			w.write(r)
		}
	}
	w.marks = w.marks[:0]
}

func (w *Words) write(r rune) {
	if r >= jamoFirst && r <= jamoLast && !w.cut && w.join(r) {
		return
	}
	if w.cut = w.cut || len(w.buf)-w.start+utf8.RuneLen(r) > MaxWord; !w.cut {
		w.buf = utf8.AppendRune(w.buf, r)
	}
}

// end ends the word.
func (w *Words) end() {
	w.writeMarks()
	w.lone, w.cut = false, false
	if len(w.buf) == w.start {
		return
	}
	w.list = append(w.list, w.buf[w.start:len(w.buf):len(w.buf)])
	w.start = len(w.buf)
	if len(w.list) == MaxWords {
		w.sort()
	}
}

// Hangul is written in syllables, or in the letters that they are made of.
const (
	jamoFirst, jamoLast = 0x1161, 0x11C2
	leads, vowels       = 0x1100, 0x1161
	tails, syllables    = 0x11A7, 0xAC00
	leadCount           = 19
	vowelCount          = 21
	tailCount           = 28
)

// join makes a syllable of the last letter and r.
func (w *Words) join(r rune) bool {
	last, n := utf8.DecodeLastRune(w.buf[w.start:])
	switch {
	case r < vowels+vowelCount && last >= leads && last < leads+leadCount:
		r = syllables + ((last-leads)*vowelCount+r-vowels)*tailCount
	case r > tails && last >= syllables && last < syllables+leadCount*vowelCount*tailCount && (last-syllables)%tailCount == 0:
		r += last - tails
	default:
		return false
	}
	w.buf = utf8.AppendRune(w.buf[:len(w.buf)-n], r)
	return true
}

// ParseQuery reads the words of a search. It refuses a text without any.
func ParseQuery(text string) ([]string, error) {
	const field = "q"
	switch {
	case len(text) > MaxQuery:
		return nil, Invalid(field, "is longer than %d bytes", MaxQuery)
	case !utf8.ValidString(text):
		return nil, Invalid(field, "is not UTF-8")
	}
	var w Words
	found := w.Of(text)
	if len(found) == 0 {
		return nil, Invalid(field, "has no letter or digit to search for")
	}
	words := make([]string, len(found))
	for i, word := range found {
		words[i] = string(word)
	}
	return words, nil
}
