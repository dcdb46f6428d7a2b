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
	notices       *prometheus.CounterVec
	skips         *prometheus.CounterVec

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
	m.notices = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_notifications_total",
		Help: "Notifications that were made, or that repeat one."}, []string{"result"})
	m.skips = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_notifications_skipped_total",
		Help: "Notifications that were not made, by reason: the recipient is the sender, or does not want it."}, []string{"reason"})
	for _, reason := range Skips {
		m.skips.WithLabelValues(string(reason))
	}
	m.committed = m.submits.WithLabelValues("committed")
	m.repeated = m.submits.WithLabelValues("repeated")
	if reg != nil {
		reg.MustRegister(m.submits, m.commitSeconds, m.commitDrafts, m.retries, m.storeReads, m.trimmed, m.notices, m.skips)
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

func (m *metrics) noticed(o *Noticed) {
	switch {
	case o.Skipped != Wanted:
		m.skips.WithLabelValues(string(o.Skipped)).Inc()
	case o.Repeat:
		m.notices.WithLabelValues("repeated").Inc()
	default:
		m.notices.WithLabelValues("created").Inc()
	}
}
