package ingest

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the bridge does.
type metrics struct {
	received, redelivered, committed, acknowledged prometheus.Counter
	refused, retries, dropped, unnamed             prometheus.Counter
	disconnects                                    *prometheus.CounterVec
}

func newMetrics(to prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_bridge_" + name, Help: help})
		to.MustRegister(c)
		return c
	}
	m := &metrics{
		received:     counter("received_total", "Messages that the source sent, again or not."),
		redelivered:  counter("redelivered_total", "Of them, those that were known."),
		committed:    counter("committed_total", "Messages that Parley has committed."),
		acknowledged: counter("acknowledged_total", "Messages acknowledged to the source."),
		refused:      counter("refused_total", "Messages that can never be written."),
		retries:      counter("retries_total", "Messages that Parley asked to send again later."),
		dropped:      counter("dropped_total", "Messages of QoS 0 that came faster than they could be written."),
		unnamed:      counter("unnamed_total", "Messages without the identity that id-from names."),
		disconnects: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_bridge_disconnects_total",
			Help: "Connections that were lost or not made."}, []string{"to"}),
	}
	to.MustRegister(m.disconnects)
	return m
}

// watch registers what is asked for when it is read.
func (m *metrics) watch(to prometheus.Registerer, b *bridge) {
	gauge := func(name, help string, read func() float64) {
		to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_bridge_" + name, Help: help}, read))
	}
	gauge("bindings", "Packet identifiers in the journal.", func() float64 { return float64(b.journal.bindings()) })
	gauge("in_flight", "Messages between arrival and commit.", func() float64 {
		b.source.mu.Lock()
		defer b.source.mu.Unlock()
		return float64(b.source.memory)
	})
	for _, part := range []string{partSource, partTarget} {
		to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_bridge_connected",
			Help: "1 while there is a connection.", ConstLabels: prometheus.Labels{"to": part}}, func() float64 {
			if b.health.fine(part) {
				return 1
			}
			return 0
		}))
	}
}

// The parts that may be unwell.
const (
	partSource      = "source"
	partTarget      = "target"
	partJournal     = "journal"
	partDeadLetters = "dead-letters"
)

// Health says what works. Its zero value has not begun.
type Health struct {
	mu    sync.Mutex
	parts map[string]string // "" is well
}

func (h *Health) set(part string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parts == nil {
		h.parts = make(map[string]string)
	}
	h.parts[part] = ""
	if err != nil {
		h.parts[part] = err.Error()
	}
}

func (h *Health) fine(part string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	trouble, known := h.parts[part]
	return known && trouble == ""
}

// ServeHTTP answers 200 while the source is read and Parley written to, else
// 503; the body says what is wrong.
func (h *Health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	answer := map[string]string{partSource: "no connection yet", partTarget: "no connection yet"}
	status := http.StatusOK
	for part, trouble := range h.parts {
		answer[part] = trouble
	}
	h.mu.Unlock()
	for part, trouble := range answer {
		if trouble != "" {
			status = http.StatusServiceUnavailable
		} else {
			answer[part] = "ok"
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // whoever asked may have gone
}
