// Package terminal shows Parley in a terminal: a chat for the screen, and
// lines for everything else.
//
// What others wrote is never written to a terminal as it is: a terminal obeys
// control characters.
package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostMarks is how many marks may stand on one letter. No script needs more;
// heaps of them are made to run over other lines.
const mostMarks = 8

// Plain makes text of others fit to be shown: without control characters,
// invisible ones that turn the direction of text round, and heaps of marks. It
// keeps line feeds, tabs become spaces.
func Plain(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	marks := 0
	for _, r := range s {
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > mostMarks {
				continue
			}
		} else {
			marks = 0
		}
		switch {
		case r == '\n' || r == '\u2028' || r == '\u2029':
			b.WriteByte('\n')
		case r == '\t':
			b.WriteString("    ")
		case r == '\r':
		case r < ' ' || r >= 0x7f && r <= 0x9f:
			b.WriteRune(utf8.RuneError)
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff, r == 0x061c, r == 0x200e, r == 0x200f:
		case r >= 0xfff9 && r <= 0xfffb, r >= 0x206a && r <= 0x206f, r == 0x00ad:
		default:
			b.WriteRune(r) // an invalid byte has become U+FFFD
		}
	}
	return b.String()
}

// Line is Plain on one line.
func Line(s string) string {
	return strings.Join(strings.FieldsFunc(Plain(s), func(r rune) bool { return r == '\n' }), " ⏎ ")
}
