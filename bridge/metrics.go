package bridge

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-mqtt/parley/internal/chat"
)

type metrics struct {
	submits       *prometheus.CounterVec
	commitSeconds prometheus.Histogram
	commitDrafts  prometheus.Histogram
	retries       *prometheus.CounterVec
	storeReads    prometheus.Counter
	trimmed       prometheus.Counter

	committed, repeated prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		submits: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_submits_total",
			Help: "Sends that reached the log, by what became of them."}, []string{"result"}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_commit_seconds",
			Help:    "Time of one commit of a batch.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		commitDrafts: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "parley_commit_drafts",
			Help:    "Drafts in one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_commit_retries_total",
			Help: "Commits that were tried again, by reason."}, []string{"reason"}),
		storeReads: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_store_reads_total",
			Help: "Queries that read entries for followers whose place memory does not hold."}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_trimmed_entries_total",
			Help: "Entries that were removed because they had grown too old, or their stream too long."}),
	}
	m.committed = m.submits.WithLabelValues("committed")
	m.repeated = m.submits.WithLabelValues("repeated")
	if reg != nil {
		reg.MustRegister(m.submits, m.commitSeconds, m.commitDrafts, m.retries, m.storeReads, m.trimmed)
	}
	return m
}

func (m *metrics) outcome(out Outcome) {
	switch {
	case out.Err == nil && !out.Repeat:
		m.committed.Inc()
	case out.Err == nil:
		m.repeated.Inc()
	default:
		e, _ := chat.AsError(out.Err)
		m.submits.WithLabelValues(string(e.Code)).Inc()
	}
}
