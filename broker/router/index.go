package router

import (
	"strings"
	"sync"
)

// index finds the subscriptions that take a topic. It is a tree of topic
// levels; what stands at a node is subscribed to the filter that leads there.
// Topics and filters of Parley's own, and those that begin with $, never come
// here.
type index struct {
	mu   sync.RWMutex
	root node
	size int // subscriptions
}

type node struct {
	children map[string]*node
	plus     *node // "+"
	rest     *node // "#"
	subs     []*subscription
	groups   map[string]*group // shared subscriptions, by name
}

// subscription is one filter of one session.
type subscription struct {
	box         *Mailbox
	filter      string   // as the client gave it, with $share
	group       *group   // nil unless it is shared
	ids         []uint32 // its subscription identifier; shared by all deliveries, with no room to append
	place       int      // in node.subs, or in group.members
	qos         byte
	noLocal     bool
	asPublished bool
}

// matches collects what Match finds.
type matches struct {
	subs   []*subscription
	groups []*group
	nodes  int // how many nodes have subs: with one, no session stands twice

	// What Router.match makes of it.
	targets []target
	at      map[*Mailbox]int // scratch of merge
}

// match adds to found all that takes the topic: "+" stands for one level, "#"
// for the parent and everything below [MQTT-4.7.1-1].
func (x *index) match(topic string, found *matches) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.root.match(topic, true, found)
}

// match goes on below n with the rest of a topic; more is false at its end.
func (n *node) match(rest string, more bool, found *matches) {
	if n.rest != nil {
		n.rest.take(found)
	}
	if !more {
		n.take(found)
		return
	}
	level, rest, more := strings.Cut(rest, "/")
	if child := n.children[level]; child != nil {
		child.match(rest, more, found)
	}
	if n.plus != nil {
		n.plus.match(rest, more, found)
	}
}

func (n *node) take(found *matches) {
	if len(n.subs) > 0 {
		found.subs = append(found.subs, n.subs...)
		found.nodes++
	}
	for _, g := range n.groups {
		found.groups = append(found.groups, g)
	}
}

// splitShare takes a $share/<group>/<filter> apart [MQTT-4.8.2-1]. share is ""
// for any other filter.
func splitShare(filter string) (share, path string) {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		if share, path, ok = strings.Cut(rest, "/"); ok {
			return share, path
		}
	}
	return "", filter
}

// add adds a subscription.
func (x *index) add(s *subscription) {
	share, path := splitShare(s.filter)
	x.mu.Lock()
	defer x.mu.Unlock()
	n := &x.root
	for more := true; more; {
		var level string
		level, path, more = strings.Cut(path, "/")
		n = n.child(level)
	}
	x.size++
	if share == "" {
		s.place = len(n.subs)
		n.subs = append(n.subs, s)
		return
	}
	g := n.groups[share]
	if g == nil {
		g = &group{filter: s.filter}
		if n.groups == nil {
			n.groups = make(map[string]*group)
		}
		n.groups[share] = g
	}
	s.group = g
	g.add(s)
}

// replace puts a subscription in the place of another with the same filter: no
// message may fall between the two, nor find both [MQTT-3.8.4-4].
func (x *index) replace(old, s *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.place = old.place
	if old.group != nil {
		s.group = old.group
		s.group.mu.Lock()
		defer s.group.mu.Unlock()
		s.group.members[s.place] = s
		return
	}
	_, path := splitShare(s.filter)
	x.find(path).subs[s.place] = s
}

// find answers the node that a filter leads to, nil if there is none. x.mu is
// held.
func (x *index) find(path string) *node {
	n := &x.root
	for more := true; more && n != nil; {
		var level string
		level, path, more = strings.Cut(path, "/")
		switch level {
		case "+":
			n = n.plus
		case "#":
			n = n.rest
		default:
			n = n.children[level]
		}
	}
	return n
}

// child is the node of one level, made where it is missing.
func (n *node) child(level string) *node {
	var at **node
	switch level {
	case "+":
		at = &n.plus
	case "#":
		at = &n.rest
	default:
		c := n.children[level]
		if c == nil {
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			c = new(node)
			n.children[strings.Clone(level)] = c
		}
		return c
	}
	if *at == nil {
		*at = new(node)
	}
	return *at
}

// remove takes a subscription out, with the nodes that it alone held.
func (x *index) remove(s *subscription) {
	share, path := splitShare(s.filter)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.size--
	x.root.remove(s, share, path, true)
}

func (n *node) remove(s *subscription, share, rest string, more bool) {
	if !more {
		n.drop(s, share)
		return
	}
	level, rest, more := strings.Cut(rest, "/")
	switch level {
	case "+":
		if n.plus.remove(s, share, rest, more); n.plus.empty() {
			n.plus = nil
		}
	case "#":
		if n.rest.remove(s, share, rest, more); n.rest.empty() {
			n.rest = nil
		}
	default:
		c := n.children[level]
		if c.remove(s, share, rest, more); c.empty() {
			delete(n.children, level)
		}
	}
}

func (n *node) drop(s *subscription, share string) {
	if share != "" {
		if s.group.remove(s) {
			delete(n.groups, share)
		}
		return
	}
	last := len(n.subs) - 1
	n.subs[s.place] = n.subs[last]
	n.subs[s.place].place = s.place
	n.subs[last] = nil
	n.subs = n.subs[:last]
	if cap(n.subs) > 64 && last < cap(n.subs)/4 {
		n.subs = append([]*subscription(nil), n.subs...)
	}
}

func (n *node) empty() bool {
	return len(n.subs) == 0 && len(n.groups) == 0 && len(n.children) == 0 && n.plus == nil && n.rest == nil
}

// group answers the group of a shared subscription, or nil.
func (x *index) group(filter string) *group {
	share, path := splitShare(filter)
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := x.find(path)
	if n == nil {
		return nil
	}
	return n.groups[share]
}
