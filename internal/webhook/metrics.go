package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	delivered *prometheus.CounterVec
	failures  *prometheus.CounterVec
	givenUp   prometheus.Counter
	inflight  prometheus.Gauge
	seconds   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, q *queue) *metrics {
	m := &metrics{
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_webhook_deliveries_total",
			Help: "Events that the endpoint took."}, []string{"event"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_webhook_failures_total",
			Help: "Tries that failed, by reason."}, []string{"reason"}),
		givenUp: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_webhook_given_up_total",
			Help: "Events that were skipped because the endpoint refused them for too long."}),
		inflight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_webhook_inflight",
			Help: "Requests under way."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_webhook_seconds",
			Help:    "Time of one request.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}),
	}
	if reg != nil {
		reg.MustRegister(m.delivered, m.failures, m.givenUp, m.inflight, m.seconds,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_webhook_behind_entries",
				Help: "Entries that were not told yet, as far as is known."}, func() float64 {
				entries, _ := q.lag()
				return float64(entries)
			}),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "parley_webhook_oldest_seconds",
				Help: "Age of the oldest entry that was not told yet, as far as is known."}, func() float64 {
				if _, oldest := q.lag(); !oldest.IsZero() {
					return max(0, time.Since(oldest).Seconds())
				}
				return 0
			}))
	}
	return m
}
