package bench

// seen is what one subscriber has got of its stream, and what was wrong with
// it. A message of a sender is known by its counter, so that the check costs a
// comparison as long as nothing is wrong.
type seen struct {
	next  []uint32         // by sender: the counter that comes next
	gaps  map[gap]struct{} // counters that were jumped over and have not come since
	order uint64           // depends on all that came for the first time, and its order

	unique     uint64 // different messages
	duplicated uint64 // messages that had come before
	disordered uint64 // messages that came after a later one of their sender
}

// gap is a message that is missing.
type gap struct{ sender, counter uint32 }

// add takes the next message. It returns how many messages need not be waited
// for any longer: it and those that it jumped over, each counted once.
func (s *seen) add(sender, counter uint32) int {
	next := s.next[sender]
	if counter == next {
		s.next[sender] = next + 1
		s.note(sender, counter)
		return 1
	}
	if counter > next {
		if s.gaps == nil {
			s.gaps = make(map[gap]struct{})
		}
		for missing := next; missing < counter; missing++ {
			s.gaps[gap{sender, missing}] = struct{}{}
		}
		s.next[sender] = counter + 1
		s.note(sender, counter)
		return int(counter-next) + 1
	}
	late := gap{sender, counter}
	if _, ok := s.gaps[late]; !ok {
		s.duplicated++
		return 0
	}
	delete(s.gaps, late)
	s.disordered++
	s.note(sender, counter)
	return 0
}

func (s *seen) note(sender, counter uint32) {
	s.unique++
	x := (s.order ^ (uint64(sender)<<32 | uint64(counter))) * 0x9E3779B97F4A7C15
	s.order = x ^ x>>29
}

// missing counts the messages of a sender that have not come. sent is how many
// it sent; those for which excused is true are not counted.
func (s *seen) missing(sender, sent uint32, excused func(counter uint32) bool) uint64 {
	n := uint64(0)
	for counter := s.next[sender]; counter < sent; counter++ {
		if !excused(counter) {
			n++
		}
	}
	for g := range s.gaps {
		if g.sender == sender && !excused(g.counter) {
			n++
		}
	}
	return n
}

// sameOrder tells whether all that have got everything got it in one order.
// The order of one that misses something cannot be compared.
func sameOrder(all []*seen, everything uint64) bool {
	var first *seen
	for _, s := range all {
		if s.unique != everything {
			continue
		}
		if first == nil {
			first = s
		}
		if s.order != first.order {
			return false
		}
	}
	return true
}
