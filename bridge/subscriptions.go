package bridge

import (
	"slices"
	"strings"
)

// Subscriptions are those of one session, in the order of their filters. A
// slice takes a tenth of the memory of a map, and most sessions have few.
type Subscriptions []Subscription

func (s Subscriptions) search(filter string) (int, bool) {
	return slices.BinarySearchFunc(s, filter, func(sub Subscription, filter string) int {
		return strings.Compare(sub.Filter, filter)
	})
}

// Find answers the subscription with a filter.
func (s Subscriptions) Find(filter string) (Subscription, bool) {
	if i, found := s.search(filter); found {
		return s[i], true
	}
	return Subscription{}, false
}

// Put adds a subscription, in place of one with the same filter. It changes s.
func (s Subscriptions) Put(sub Subscription) Subscriptions {
	i, found := s.search(sub.Filter)
	if found {
		s[i] = sub
		return s
	}
	return slices.Insert(s, i, sub)
}

// Remove takes out the subscription with a filter. It changes s.
func (s Subscriptions) Remove(filter string) Subscriptions {
	if i, found := s.search(filter); found {
		return slices.Delete(s, i, i+1)
	}
	return s
}
