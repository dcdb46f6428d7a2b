package model_test

// stepRead has a client read some of what it must get, and acknowledge some.
func (w *world) stepRead() {
	l := w.linked()
	if l == nil {
		return
	}
	n, acknowledge := w.between(1, 8, "entries"), w.acknowledgements()
	w.log("%s reads up to %d", l, n)
	for range n {
		if !l.readEntry() {
			break
		}
	}
	acknowledge(l)
}

// stepAck has a client acknowledge some, in any order.
func (w *world) stepAck() {
	if l := w.linked(); l != nil {
		w.acknowledgements()(l)
	}
}

// acknowledgements draws what a client acknowledges of what it has.
func (w *world) acknowledgements() func(l *link) {
	n, shuffle, ping := w.between(0, 20, "acknowledgements"), 0, w.oneIn(2, "ping")
	if w.oneIn(4, "out of order") {
		shuffle = w.between(1, 100, "order")
	}
	return func(l *link) {
		left := l.unacked()
		for range min(n, len(left)) {
			i := shuffle % len(left)
			w.log("  %s acknowledges %s:%d", l, left[i].conv.id, left[i].seq)
			l.ack(left[i])
			left = append(left[:i:i], left[i+1:]...)
			shuffle = shuffle * 7 % 101
		}
		if ping {
			l.ping()
		}
	}
}

func (w *world) stepReadAll() {
	if l := w.linked(); l != nil {
		w.log("%s reads all", l)
		l.readAll()
	}
}

func (w *world) stepSubscribe() {
	if l := w.linked(); l != nil {
		qos := pick(w, []byte{1, 0, 2}, "QoS")
		l.subscribe(qos, -1, w.filters(l)...)
	}
}

// stepAfter subscribes from a place on.
func (w *world) stepAfter() {
	l := w.linked()
	if l == nil || l.c.version != 5 {
		return
	}
	c, qos, place := w.convOf(l.c.user), pick(w, []byte{1, 0}, "QoS"), w.place()
	filter := c.topic()
	if w.oneIn(4, "all") {
		filter = allMessages
	}
	l.subscribe(qos, int(place(c)), filter)
}

// place draws a place in a stream: near its end, its beginning, or beyond.
func (w *world) place() func(*conv) uint64 {
	back, n := w.oneIn(2, "from the end"), uint64(w.between(0, 50, "place"))
	return func(c *conv) uint64 {
		switch {
		case !back:
			return min(n, c.head()+1)
		case n > c.head():
			return 0
		}
		return c.head() - n
	}
}

func (w *world) filters(l *link) []string {
	all := []string{allMessages, w.convOf(l.c.user).topic(), l.c.errors(), allChat, "chat/" + w.prefix + "none/messages"}
	first, second := pick(w, all, "filter"), pick(w, all, "filter")
	if w.oneIn(4, "two filters") {
		return []string{first, second}
	}
	return []string{first}
}

func (w *world) stepUnsubscribe() {
	if l := w.linked(); l != nil {
		l.unsubscribe(w.filters(l)[:1]...)
	}
}

func (w *world) stepReplay() {
	l := w.linked()
	if l == nil {
		return
	}
	c, place, qos := w.convOf(l.c.user), w.place(), pick(w, []byte{1, 0, 2}, "QoS")
	if l.mayPublish() {
		l.replay(c, place(c), qos)
	}
}
