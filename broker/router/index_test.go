package router

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
)

// levels are few, so that filters and topics meet.
var levels = []string{"a", "b", "", "ab"}

var topics = rapid.Custom(func(t *rapid.T) string {
	topic := strings.Join(rapid.SliceOfN(rapid.SampledFrom(levels), 1, 4).Draw(t, "levels"), "/")
	if topic == "" { // no topic
		return "a"
	}
	return topic
})

var filters = rapid.Custom(func(t *rapid.T) string {
	list := rapid.SliceOfN(rapid.SampledFrom(append([]string{"+"}, levels...)), 1, 4).Draw(t, "levels")
	if rapid.Bool().Draw(t, "rest") {
		list[len(list)-1] = "#"
	}
	if filter := strings.Join(list, "/"); filter != "" {
		return filter
	}
	return "+"
})

// TestIndexMatchesAsTheStandardSays adds, replaces and removes subscriptions
// in any order, and compares with acl.Match.
func TestIndexMatchesAsTheStandardSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		subs := map[string]*subscription{} // by session and filter
		boxes := []*Mailbox{{}, {}, {}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			box := rapid.IntRange(0, len(boxes)-1).Draw(t, "session")
			filter := filters.Draw(t, "filter")
			if share := rapid.SampledFrom([]string{"", "", "g", "h"}).Draw(t, "share"); share != "" {
				filter = "$share/" + share + "/" + filter
			}
			name := fmt.Sprint(box, filter)
			old := subs[name]
			switch s := (&subscription{box: boxes[box], filter: filter}); {
			case old == nil:
				x.add(s)
				subs[name] = s
			case rapid.Bool().Draw(t, "replace"):
				x.replace(old, s)
				subs[name] = s
			default:
				x.remove(old)
				delete(subs, name)
			}
			if x.size != len(subs) {
				t.Fatalf("size %d, want %d", x.size, len(subs))
			}
			checkMatch(t, &x, subs, topics.Draw(t, "topic"))
		}
		for _, s := range subs {
			x.remove(s)
		}
		if !x.root.empty() || x.size != 0 {
			t.Fatalf("something is left of an empty tree: %+v", x.root)
		}
	})
}

func checkMatch(t *rapid.T, x *index, subs map[string]*subscription, topic string) {
	var found matches
	x.match(topic, &found)
	got := map[*subscription]int{}
	nodes := map[string]bool{}
	for _, s := range found.subs {
		got[s]++
		nodes[s.filter] = true
	}
	if found.nodes != len(nodes) {
		t.Fatalf("%q: %d nodes, want %d", topic, found.nodes, len(nodes))
	}
	groups := map[string]int{}
	for _, g := range found.groups {
		groups[g.filter]++
		for i, s := range g.members {
			got[s]++
			if s.place != i || s.group != g || s.filter != g.filter {
				t.Fatalf("member %d of %s is %+v", i, g.filter, s)
			}
		}
		if x.group(g.filter) != g {
			t.Fatalf("group finds another for %s", g.filter)
		}
	}
	want := map[*subscription]int{}
	wantGroups := map[string]int{}
	for _, s := range subs {
		share, path := splitShare(s.filter)
		if !acl.Match(path, topic) {
			continue
		}
		if want[s] = 1; share != "" {
			wantGroups[s.filter] = 1
		}
	}
	if !maps.Equal(got, want) || !maps.Equal(groups, wantGroups) {
		t.Fatalf("%q: found %v and groups %v, want %v and %v", topic, filtersOf(got), groups, filtersOf(want), wantGroups)
	}
}

func filtersOf(set map[*subscription]int) (list []string) {
	for s, n := range set {
		list = append(list, fmt.Sprint(s.filter, "×", n))
	}
	slices.Sort(list)
	return list
}

// TestOverlappingSubscriptions: a session gets one copy, at the highest QoS,
// with all subscription identifiers [MQTT-3.3.4-2], [MQTT-3.3.4-4].
func TestOverlappingSubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", false,
			bridge.Subscription{Filter: "a/#", QoS: 0, ID: 7},
			bridge.Subscription{Filter: "a/+", QoS: 2, ID: 8, RetainAsPublished: true},
			bridge.Subscription{Filter: "a/b", QoS: 1, ID: 7},
			bridge.Subscription{Filter: "+/b", QoS: 1, ID: 300, NoLocal: true},
			bridge.Subscription{Filter: "#", QoS: 1})
		other := g.join("other", false, sub("a/b", 0))
		g.must(g.publish("a/b", "x", 2, retain))
		got := c.drain()
		wantPayloads(t, got, "x")
		ids := slices.Sorted(slices.Values(got[0].subIDs))
		if p := got[0]; p.qos != 2 || !p.retain || !slices.Equal(ids, []int{7, 8, 300}) {
			t.Fatalf("got %+v", p)
		}
		if got = other.drain(); len(got) != 1 || got[0].qos != 0 || got[0].retain || got[0].subIDs != nil {
			t.Fatalf("the other got %+v", got)
		}
		// Of its own message, all but the No Local one [MQTT-3.8.3-3].
		g.must(g.publish("a/b", "own", 1, func(p *Publication) { p.Message.From = keyOf("c") }))
		got = c.drain()
		wantPayloads(t, got, "own")
		ids = slices.Sorted(slices.Values(got[0].subIDs))
		if !slices.Equal(ids, []int{7, 8}) || got[0].qos != 1 {
			t.Fatalf("got %+v", got[0])
		}
	})
}

func TestNoLocalAloneGetsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", false, bridge.Subscription{Filter: "a", QoS: 1, NoLocal: true})
		matched := true
		p := &Publication{Message: newMessage("a", "own", 1)}
		p.Message.From = keyOf("c")
		p.Done = completer(func(error) { matched = p.Matched })
		g.Publish(p)
		quiet()
		if matched || len(c.drain()) > 0 {
			t.Fatal("the session got its own message")
		}
	})
}

// TestSubscribeAgainReplaces [MQTT-3.8.4-3].
func TestSubscribeAgainReplaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		g := newRig(t)
		c := g.join("c", false)
		for i, filter := range []string{"a", "$share/g/b"} {
			c.box.Subscribe(bridge.Subscription{Filter: filter, QoS: 0, ID: 1}, false)
			c.box.Subscribe(bridge.Subscription{Filter: filter, QoS: 1, ID: 2}, false)
			g.must(g.publish([]string{"a", "b"}[i], "x", 1, nil))
			got := c.drain()
			if len(got) != 1 || got[0].qos != 1 || !slices.Equal(got[0].subIDs, []int{2}) {
				t.Fatalf("got %+v", got)
			}
			c.box.Unsubscribe(filter)
			g.must(g.publish([]string{"a", "b"}[i], "y", 1, nil))
			wantPayloads(t, c.drain())
		}
		if !g.index.root.empty() {
			t.Fatal("the tree is not empty")
		}
	})
}
