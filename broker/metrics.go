package broker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/broker/feed"
	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/broker/wire"
)

type metrics struct {
	connections prometheus.Gauge
	connects    *prometheus.CounterVec
	disconnects *prometheus.CounterVec
	packets     [16]prometheus.Counter
	bytesIn     prometheus.Counter
	bytesOut    prometheus.Counter
	feed        feed.Metrics
	drops       *prometheus.CounterVec
	panics      prometheus.Counter
	refusals    *prometheus.CounterVec
	pauses      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	byLabel := func(name, label, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_mqtt_connections",
			Help: "MQTT connections that are open."}),
		connects: byLabel("parley_mqtt_connects_total", "result",
			"CONNECT packets, by what became of them."),
		disconnects: byLabel("parley_mqtt_disconnects_total", "reason",
			"MQTT connections that ended, by reason."),
		bytesIn:  counter("parley_mqtt_received_bytes_total", "Bytes of MQTT packets received."),
		bytesOut: counter("parley_mqtt_sent_bytes_total", "Bytes of MQTT packets sent."),
		feed: feed.Metrics{
			Deliveries: counter("parley_deliveries_total", "Entries written to subscribers."),
			Acks:       counter("parley_acknowledgements_total", "Entries that subscribers acknowledged."),
		},
		drops: byLabel("parley_drops_total", "reason",
			"What was not written to a subscriber, by reason. Entries are dropped only when they are larger than the client's Maximum Packet Size."),
		panics: counter("parley_mqtt_panics_total", "Connections that ended in a panic: each is a defect."),
	}
	m.refusals = byLabel("parley_mqtt_limit_refusals_total", "limit",
		"What was refused for a limit, by the name of its setting.")
	for _, name := range limit.Names {
		m.refusals.WithLabelValues(name)
	}
	m.pauses = byLabel("parley_mqtt_limit_pauses_total", "reason",
		"How often reading from a connection was held up: publish is QoS 0 over a publish limit, reconnects a session that connects again and again.")
	packets := byLabel("parley_mqtt_received_packets_total", "type", "MQTT packets received, by type.")
	for t := range m.packets {
		m.packets[t] = packets.WithLabelValues(wire.TypeName(byte(t)))
	}
	m.feed.TooLarge = m.drops.WithLabelValues("too large")
	if reg != nil {
		reg.MustRegister(m.connections, m.connects, m.disconnects, packets, m.bytesIn, m.bytesOut,
			m.feed.Deliveries, m.feed.Acks, m.drops, m.panics, m.refusals, m.pauses)
	}
	return m
}

// exceeded counts something that was refused for a limit.
func (m *metrics) exceeded(err error) {
	var over *limit.Exceeded
	if errors.As(err, &over) {
		m.refusals.WithLabelValues(over.Bound).Inc()
	}
}

// received counts a packet that was read.
func (m *metrics) received(p wire.Packet) {
	m.packets[p.Type()].Inc()
	m.bytesIn.Add(float64(len(p.Body) + 2))
}
