package terminal

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Terminals differ in how wide they show a cluster of code points, such as a
// family of emoji: some as one character, some as several. Text is laid out
// for the wider of the two, so that nothing is cut off in either.

// width is how many cells a line may take.
func width(s string) int { return max(ansi.StringWidth(s), ansi.StringWidthWc(s)) }

// cut cuts a line that is wider than w.
func cut(s string, w int, tail string) string {
	if width(s) <= w {
		return s
	}
	s = ansi.Truncate(s, w, tail)
	for limit := w; width(s) > w && limit > 0; limit-- {
		s = ansi.TruncateWc(s, limit, tail)
		if ansi.StringWidth(s) > w {
			s = ansi.Truncate(s, limit, tail)
		}
	}
	return s
}

// fill is a line of exactly w cells, where both ways to count agree.
func fill(s string, w int) string {
	s = cut(s, w, "…")
	return s + strings.Repeat(" ", max(w-width(s), 0))
}

// wrap breaks plain text into lines of at most w cells: between words, and
// within those that are longer.
func wrap(text string, w int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(strings.TrimRight(text, "\n "), "\n") {
		lines = append(lines, wrapLine(paragraph, w)...)
	}
	return lines
}

func wrapLine(text string, w int) []string {
	var lines []string
	line, used := "", 0
	for i, word := range strings.Split(text, " ") {
		n := width(word)
		switch {
		case i == 0:
		case used+1+n <= w:
			line, used = line+" ", used+1
		default:
			lines = append(lines, line)
			line, used = "", 0
		}
		for used+n > w && word != "" { // longer than a line
			cluster, _ := ansi.FirstGraphemeCluster(word, ansi.GraphemeWidth)
			if cw := width(cluster); used+cw > w && used > 0 {
				lines = append(lines, line)
				line, used = "", 0
			} else {
				line, used = line+cluster, used+cw
				word = word[len(cluster):]
				n -= cw
			}
		}
		line, used = line+word, used+width(word)
	}
	return append(lines, line)
}
