package chat

import (
	"strings"
	"unicode/utf8"
)

// Kind says what a topic is for.
type Kind uint8

// The kinds of topics. KindOrdinary is every topic that is not Parley's own;
// it is open to devices by the acl claim of their token.
const (
	KindOrdinary Kind = iota
	KindMessages
	KindTyping
	KindReceipts
	KindReplay
	KindNotifications
	KindNotificationsRead
	KindNotificationsReplay
	KindUnread
	KindPresence
	KindErrors
	KindToken
	// KindAny stands in filters only: chat/+/+ and users/<u>/#.
	KindAny
)

// suffixes maps a kind to what stands after chat/<id>/ or users/<id>/.
var suffixes = [...]string{
	KindMessages: "messages", KindTyping: "typing", KindReceipts: "receipts", KindReplay: "replay",
	KindNotifications: "notifications", KindNotificationsRead: "notifications/read",
	KindNotificationsReplay: "notifications/replay", KindUnread: "unread",
	KindPresence: "presence", KindErrors: "errors", KindToken: "token",
}

// MaxTopic and MaxTopicLevels bound topic names and filters.
const (
	MaxTopic       = 1024
	MaxTopicLevels = 32
)

// Topic is a topic name, understood. For KindOrdinary, Name holds it whole;
// for all others ID is the conversation's or the user's id.
type Topic struct {
	Kind Kind
	ID   string
	Name string
}

// OfChat reports whether the kind stands below chat/<conversation>/.
func (k Kind) OfChat() bool { return k >= KindMessages && k <= KindReplay }

// ParseTopic reads a topic name, as in PUBLISH. It refuses what MQTT refuses
// (empty, wildcards, U+0000, not UTF-8: [MQTT-3.3.2-2], [MQTT-1.5.4-1],
// [MQTT-1.5.4-2]), what is too long or too deep, and names below chat/ and
// users/ that mean nothing. It does not allocate unless it fails.
func ParseTopic(name string) (Topic, error) {
	if err := checkName(name, "topic"); err != nil {
		return Topic{}, err
	}
	if strings.IndexByte(name, '+') >= 0 || strings.IndexByte(name, '#') >= 0 {
		return Topic{}, Invalid("topic", "a topic name has no wildcards")
	}
	root, rest := cutLevel(name)
	if !reserved(root) {
		return Topic{Kind: KindOrdinary, Name: name}, nil
	}
	id, last := cutLevel(rest)
	if !ValidID(id) {
		return Topic{}, Invalid("topic", "%s/ must be followed by an id", root)
	}
	kind := kindOf(root, last)
	if kind == KindOrdinary {
		return Topic{}, Errorf(CodeNotFound, "there is no such topic below %s/", root)
	}
	return Topic{Kind: kind, ID: id, Name: name}, nil
}

// Append prints the topic to dst: the inverse of ParseTopic.
func (t Topic) Append(dst []byte) []byte {
	if t.Kind == KindOrdinary {
		return append(dst, t.Name...)
	}
	root := "users/"
	if t.Kind.OfChat() {
		root = "chat/"
	}
	dst = append(dst, root...)
	dst = append(dst, t.ID...)
	dst = append(dst, '/')
	return append(dst, suffixes[t.Kind]...)
}

// String prints the topic.
func (t Topic) String() string { return string(t.Append(nil)) }

// Filter is a topic filter, understood. The filters of Parley's own topics
// are few: an exact topic (Kind and ID), one kind of all (Any, with Kind of
// messages, typing, receipts, presence or KindAny for chat/+/+), and
// users/<u>/# (KindAny with ID). Everything else is KindOrdinary.
type Filter struct {
	Kind  Kind
	ID    string // "" when Any
	Any   bool   // "+" stands where the id stands
	Share string // the group of a shared subscription, "" if it is none
	Name  string // the filter as it came
}

// ParseFilter reads a topic filter, as in SUBSCRIBE, with the rules of
// [MQTT-4.7.1-1], [MQTT-4.7.1-2] and [MQTT-4.8.2-1], [MQTT-4.8.2-2] for
// wildcards and shares. Filters that reach into chat/ or users/ in another
// way than the contract's are refused with CodeForbidden. It does not
// allocate unless it fails.
func ParseFilter(filter string) (Filter, error) {
	if err := checkName(filter, "filter"); err != nil {
		return Filter{}, err
	}
	f := Filter{Name: filter}
	path := filter
	if strings.HasPrefix(filter, "$share/") {
		share, rest, ok := strings.Cut(filter[len("$share/"):], "/")
		if !ok || share == "" || rest == "" || strings.ContainsAny(share, "+#") {
			return Filter{}, Invalid("filter", "a shared subscription is $share/<group>/<filter>")
		}
		f.Share, path = share, rest
	}
	if err := checkWildcards(path); err != nil {
		return Filter{}, err
	}
	root, rest := cutLevel(path)
	if !reserved(root) {
		return f, nil
	}
	id, last := cutLevel(rest)
	switch {
	case id == "+":
		f.Any = true
		if root == "chat" && last == "+" {
			f.Kind = KindAny
			return f, nil
		}
		f.Kind = kindOf(root, last)
		switch f.Kind {
		case KindMessages, KindTyping, KindReceipts, KindPresence:
			return f, nil
		}
	case ValidID(id):
		f.ID = id
		if root == "users" && last == "#" {
			f.Kind = KindAny
			return f, nil
		}
		if f.Kind = kindOf(root, last); f.Kind != KindOrdinary {
			return f, nil
		}
	}
	return Filter{}, Errorf(CodeForbidden, "this filter below %s/ is not offered", root)
}

// OfChat reports whether the filter is one below chat/.
func (f Filter) OfChat() bool { return f.Kind.OfChat() || f.Kind == KindAny && f.Any }

// Matches reports whether the filter takes the topic. Only filters and topics
// of Parley's own kinds are compared here; ordinary ones are the router's.
func (f Filter) Matches(t Topic) bool {
	if f.Kind == KindOrdinary || t.Kind == KindOrdinary {
		return false
	}
	if f.Kind == KindAny {
		return f.Any && t.Kind.OfChat() || !f.Any && !t.Kind.OfChat() && f.ID == t.ID
	}
	return f.Kind == t.Kind && (f.Any || f.ID == t.ID)
}

func reserved(root string) bool { return root == "chat" || root == "users" }

// cutLevel splits at the first slash.
func cutLevel(s string) (first, rest string) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

func kindOf(root, last string) Kind {
	from, to := KindMessages, KindReplay
	if root == "users" {
		from, to = KindNotifications, KindToken
	}
	for k := from; k <= to; k++ {
		if suffixes[k] == last {
			return k
		}
	}
	return KindOrdinary
}

func checkName(s, field string) error {
	switch {
	case s == "":
		return Invalid(field, "must not be empty")
	case len(s) > MaxTopic:
		return Invalid(field, "is longer than %d bytes", MaxTopic)
	case strings.Count(s, "/") >= MaxTopicLevels:
		return Invalid(field, "has more than %d levels", MaxTopicLevels)
	case strings.IndexByte(s, 0) >= 0:
		return Invalid(field, "must not contain U+0000")
	case !utf8.ValidString(s):
		return Invalid(field, "is not UTF-8")
	}
	return nil
}

// checkWildcards wants + and # to stand alone in a level, and # to be last.
func checkWildcards(path string) error {
	for path != "" {
		level, rest := cutLevel(path)
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return Invalid("filter", "a wildcard must stand alone between slashes")
		}
		if level == "#" && len(level) != len(path) {
			return Invalid("filter", "# must be the last level")
		}
		path = rest
	}
	return nil
}
