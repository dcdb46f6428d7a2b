package acl

import "strings"

// Match reports whether the filter takes the topic, by MQTT 5 clause 4.7 (the
// same in 3.1.1): "+" stands for one level, "#" for the parent and everything
// below ([MQTT-4.7.1-1]), and a filter that begins with a wildcard takes no
// topic that begins with "$" ([MQTT-4.7.2-1]).
//
// Both are taken as well formed. Of a shared subscription pass the inner
// filter. Match does not allocate and is safe for concurrent use.
func Match(filter, topic string) bool {
	if filter == "" || topic == "" {
		return false
	}
	if topic[0] == '$' && startsWild(filter) {
		return false
	}
	for {
		level, filterRest, filterMore := strings.Cut(filter, "/")
		if level == "#" {
			return !filterMore
		}
		name, topicRest, topicMore := strings.Cut(topic, "/")
		if level != "+" && level != name {
			return false
		}
		switch {
		case !topicMore && !filterMore:
			return true
		case !topicMore:
			return filterRest == "#" // a/# takes a
		case !filterMore:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// covers reports whether every topic that the filter f takes is also taken by
// the filter c. It is exact: when it says no, there is a topic that f takes
// and c does not. The limits on the length of names are left out of account.
func covers(c, f string) bool {
	if c == "" || f == "" {
		return false
	}
	// A topic is never empty. So # and +/# take the same topics, and so do /#
	// and /+/#. Only in the longer form does the number of levels say what a
	// filter takes.
	if c == "#" {
		c = "+/#"
	}
	switch f {
	case "#":
		f = "+/#"
	case "/#":
		f = "/+/#"
	}
	if f[0] == '$' && startsWild(c) {
		return false
	}
	for {
		have, haveRest, haveMore := strings.Cut(c, "/")
		if have == "#" {
			return !haveMore
		}
		want, wantRest, wantMore := strings.Cut(f, "/")
		// f takes every depth from here on, or every name in this level: c,
		// which wants one more level or one certain name, does not.
		if want == "#" || have != "+" && have != want {
			return false
		}
		switch {
		case !wantMore && !haveMore:
			return true
		case !wantMore:
			return haveRest == "#"
		case !haveMore:
			return false
		}
		c, f = haveRest, wantRest
	}
}

func startsWild(filter string) bool { return filter[0] == '+' || filter[0] == '#' }
