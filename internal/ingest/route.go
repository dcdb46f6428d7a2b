package ingest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/chat"
)

// Route says where the messages of a filter go.
type Route struct {
	filter string // as it is subscribed to
	inner  string // without $share/<group>/
	to     Template
	conv   bool // to is chat/<conversation>/messages
}

// arrow stands between the filter and the topic of a route.
const arrow = "=>"

// ParseRoute reads FILTER => TOPIC.
func ParseRoute(text string) (Route, error) {
	filter, to, found := strings.Cut(text, arrow)
	if !found {
		return Route{}, fmt.Errorf("%q is not of the form FILTER => TOPIC", text)
	}
	return NewRoute(strings.TrimSpace(filter), strings.TrimSpace(to))
}

// NewRoute makes a route of a filter of the source, which may be shared, and
// of a topic here with places for what the source's topic says.
func NewRoute(filter, to string) (Route, error) {
	r := Route{filter: filter, inner: filter}
	if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
		group, inner, found := strings.Cut(rest, "/")
		if !found || group == "" || strings.ContainsAny(group, "+#") {
			return r, fmt.Errorf("%q is not of the form $share/GROUP/FILTER", filter)
		}
		r.inner = inner
	}
	levels, open, err := checkFilter(r.inner)
	if err != nil {
		return r, err
	}
	if r.to, err = ParseTemplate(to, false); err != nil {
		return r, err
	}
	if n := r.to.levels(); n > levels && !open {
		return r, fmt.Errorf("%q has no level %d, which %q names", filter, n, to)
	}
	return r, r.checkTarget(to)
}

// checkFilter counts the levels in front of #, and says whether there is one.
func checkFilter(filter string) (levels int, open bool, err error) {
	if filter == "" || len(filter) > 65535 || strings.ContainsRune(filter, 0) {
		return 0, false, fmt.Errorf("%q is not a filter of 1 to 65,535 bytes", filter)
	}
	all := strings.Split(filter, "/")
	for i, level := range all {
		switch {
		case level == "#" && i == len(all)-1:
			return i, true, nil
		case level != "+" && strings.ContainsAny(level, "+#"):
			return 0, false, fmt.Errorf("%q: + and # stand alone between slashes, and # last", filter)
		}
	}
	return len(all), false, nil
}

// checkTarget tells a conversation from an ordinary topic.
func (r *Route) checkTarget(to string) error {
	first, rest, _ := strings.Cut(to, "/")
	switch {
	case to == "" || strings.ContainsAny(to, "+#"):
		return fmt.Errorf("%q is not a topic", to)
	case strings.HasPrefix(first, "$"), first == "users", strings.Contains(first, "{"):
		return fmt.Errorf("%q: a topic begins with a level of its own that is not users and has no $", to)
	case first != "chat":
		return r.to.checkEnd()
	}
	id, last, _ := strings.Cut(rest, "/")
	if last != "messages" || id == "" {
		return fmt.Errorf("%q: of chat/ only chat/CONVERSATION/messages can be written to", to)
	}
	r.conv = true
	return nil
}

// takes reports whether a topic of the source belongs to the route.
func (r *Route) takes(topic string) bool { return acl.Match(r.inner, topic) }

// target makes the topic here, and of a conversation its id.
func (r *Route) target(topic string) (to, conversation string, err error) {
	if to, err = r.to.expand(topic, ""); err != nil {
		return "", "", err
	}
	parsed, err := chat.ParseTopic(to)
	switch {
	case err != nil:
		return "", "", err
	case !r.conv && parsed.Kind != chat.KindOrdinary:
		return "", "", fmt.Errorf("%q is not an ordinary topic", to)
	case r.conv && parsed.Kind != chat.KindMessages:
		return "", "", fmt.Errorf("%q does not name a conversation", to)
	case r.conv:
		return to, parsed.ID, nil
	}
	return to, "", nil
}

// Grants are the filters that a token must be allowed to publish to for
// these routes: those of their ordinary topics.
func Grants(routes []Route) []string {
	var filters []string
	for _, r := range routes {
		if !r.conv {
			filters = append(filters, r.to.filter())
		}
	}
	return filters
}

// The kinds of a part of a template.
const (
	partText    = iota
	partTopic   // {topic}: all of the source's topic
	partLevel   // {2}: its second level
	partFrom    // {2:}: its second level and all behind it
	partPayload // {payload}
)

type part struct {
	kind int
	text string
	n    int
}

// Template is a text with places for what the source's message says.
type Template struct{ parts []part }

// ParseTemplate reads a template. {{ and }} stand for braces.
func ParseTemplate(text string, payload bool) (Template, error) {
	var t Template
	rest := text
	literal := func(s string) { t.parts = append(t.parts, part{kind: partText, text: s}) }
	for rest != "" {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			literal(rest)
			break
		}
		if i > 0 {
			literal(rest[:i])
		}
		if strings.HasPrefix(rest[i:], "{{") || strings.HasPrefix(rest[i:], "}}") {
			literal(rest[i : i+1])
			rest = rest[i+2:]
			continue
		}
		name, after, found := strings.Cut(rest[i+1:], "}")
		if rest[i] == '}' || !found {
			return t, fmt.Errorf("%q has a brace of no pair; write {{ or }} for a brace", text)
		}
		p, err := parsePlace(name)
		if err != nil || p.kind == partPayload && !payload {
			return t, fmt.Errorf("%q: {%s} is not known here; places are {topic}, {1}, {2}, …, {2:}%s", text, name, map[bool]string{true: " and {payload}"}[payload])
		}
		t.parts = append(t.parts, p)
		rest = after
	}
	return t, nil
}

var errPlace = errors.New("not a place")

func parsePlace(name string) (part, error) {
	switch name {
	case "topic":
		return part{kind: partTopic}, nil
	case "payload":
		return part{kind: partPayload}, nil
	}
	digits, from := strings.CutSuffix(name, ":")
	n := 0
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' || n > 100 {
			return part{}, errPlace
		}
		n = 10*n + int(c-'0')
	}
	if n == 0 {
		return part{}, errPlace
	}
	if from {
		return part{kind: partFrom, n: n}, nil
	}
	return part{kind: partLevel, n: n}, nil
}

// levels is the highest level that the template names.
func (t Template) levels() int {
	highest := 0
	for _, p := range t.parts {
		highest = max(highest, p.n)
	}
	return highest
}

// expand fills the places in.
func (t Template) expand(topic, payload string) (string, error) {
	var b strings.Builder
	levels := strings.Split(topic, "/")
	for _, p := range t.parts {
		if p.n > len(levels) {
			return "", fmt.Errorf("the topic has no level %d", p.n)
		}
		switch p.kind {
		case partText:
			b.WriteString(p.text)
		case partTopic:
			b.WriteString(topic)
		case partPayload:
			b.WriteString(payload)
		case partLevel:
			b.WriteString(levels[p.n-1])
		case partFrom:
			b.WriteString(strings.Join(levels[p.n-1:], "/"))
		}
	}
	return b.String(), nil
}

// checkEnd wants what may have many levels to stand last.
func (t Template) checkEnd() error {
	for i, p := range t.parts {
		if (p.kind == partTopic || p.kind == partFrom) && i < len(t.parts)-1 {
			return errors.New("{topic} and {2:} stand last in a topic")
		}
	}
	return nil
}

// filter takes every topic that the template can make.
func (t Template) filter() string {
	const one, many = "\x01", "\x02"
	var b strings.Builder
	for _, p := range t.parts {
		switch p.kind {
		case partText:
			b.WriteString(p.text)
		case partLevel:
			b.WriteString(one)
		default:
			b.WriteString(many)
		}
	}
	levels := strings.Split(b.String(), "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, many):
			return strings.Join(append(levels[:i:i], "#"), "/")
		case strings.Contains(level, one):
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
