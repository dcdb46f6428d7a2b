package router

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/internal/chat"
)

type metrics struct {
	messages      prometheus.Counter
	refusals      *prometheus.CounterVec
	deliveries    prometheus.Counter
	acks          prometheus.Counter
	drops         *prometheus.CounterVec
	storeReads    prometheus.Counter
	wills         prometheus.Counter
	commitSeconds prometheus.Histogram
	commitSteps   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, r *Router) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m := &metrics{
		messages: counter("parley_topic_messages_total", "Messages published to ordinary topics, wills among them, whether somebody gets them or not."),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_topic_refusals_total",
			Help: "Messages of ordinary topics that could not be kept, by code: rate_limited is too much that is retained, unavailable the database."}, []string{"code"}),
		deliveries: counter("parley_topic_deliveries_total", "Messages of ordinary topics written to subscribers."),
		acks:       counter("parley_topic_acknowledgements_total", "Messages of ordinary topics that subscribers acknowledged."),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_topic_drops_total",
			Help: "Messages of ordinary topics that a subscriber did not get, by reason."}, []string{"reason"}),
		storeReads: counter("parley_topic_store_reads_total", "Queries that read queued or retained messages."),
		wills:      counter("parley_wills_total", "Wills that were published."),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_topic_commit_seconds",
			Help: "Time of one commit of messages of ordinary topics.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		commitSteps: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_topic_commit_steps",
			Help: "What one such commit carries.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.refusals, newBacklog(r), m.deliveries, m.acks, m.drops, m.storeReads, m.wills, m.commitSeconds, m.commitSteps,
			gauge("parley_topic_subscriptions", "Subscriptions of ordinary topics, of sessions that are away too.", func() float64 {
				r.index.mu.RLock()
				defer r.index.mu.RUnlock()
				return float64(r.index.size)
			}),
			gauge("parley_topic_sessions", "Sessions that subscribe to ordinary topics, those that are away too.", func() float64 {
				r.mu.Lock()
				defer r.mu.Unlock()
				return float64(len(r.boxes))
			}),
			gauge("parley_retained_messages", "Retained messages, as far as is known.", func() float64 {
				r.retains.mu.Lock()
				defer r.retains.mu.Unlock()
				return float64(r.retains.messages)
			}),
			gauge("parley_retained_bytes", "Bytes of the retained messages, as far as is known.", func() float64 {
				r.retains.mu.Lock()
				defer r.retains.mu.Unlock()
				return float64(r.retains.bytes)
			}))
	}
	return m
}

// drop counts messages that a subscriber does not get.
func (m *metrics) drop(reason string, n float64) { m.drops.WithLabelValues(reason).Add(n) }

// refuse counts a message that could not be kept.
func (m *metrics) refuse(err error) {
	e, _ := chat.AsError(err)
	m.refusals.WithLabelValues(string(e.Code)).Inc()
}

// backlog measures what waits for sessions, when it is asked.
type backlog struct {
	r               *Router
	messages, bytes *prometheus.Desc
}

func newBacklog(r *Router) *backlog {
	return &backlog{r: r,
		messages: prometheus.NewDesc("parley_topic_waiting_messages",
			"Messages of ordinary topics that sessions have not acknowledged, those that are away too.", nil, nil),
		bytes: prometheus.NewDesc("parley_topic_waiting_bytes", "Bytes of these messages, counted once for each session.", nil, nil)}
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(descs chan<- *prometheus.Desc) {
	descs <- b.messages
	descs <- b.bytes
}

// Collect implements prometheus.Collector.
func (b *backlog) Collect(measured chan<- prometheus.Metric) {
	b.r.mu.Lock()
	boxes := slices.Collect(maps.Values(b.r.boxes))
	b.r.mu.Unlock()
	var messages, bytes float64
	for _, box := range boxes {
		n, _, size := box.Stats()
		messages, bytes = messages+float64(n), bytes+float64(size)
	}
	measured <- prometheus.MustNewConstMetric(b.messages, prometheus.GaugeValue, messages)
	measured <- prometheus.MustNewConstMetric(b.bytes, prometheus.GaugeValue, bytes)
}
