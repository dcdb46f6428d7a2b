package bench

import (
	"math/bits"
	"time"
)

// histogram counts times in buckets that are at most 1/64 of their value wide.
// It never allocates.
type histogram struct {
	counts [64 * subBuckets]uint64
	total  uint64
	max    int64
}

const (
	subBits    = 6
	subBuckets = 1 << subBits
)

// bucket is the index for ns, which is not negative.
func bucket(ns int64) int {
	if ns < subBuckets {
		return int(ns)
	}
	shift := bits.Len64(uint64(ns)) - 1 - subBits
	return (shift+1)<<subBits + int(ns>>shift) - subBuckets
}

// upper is the largest value that falls into a bucket.
func upper(i int) int64 {
	if i < subBuckets {
		return int64(i)
	}
	shift := i>>subBits - 1
	return int64(i&(subBuckets-1)+subBuckets+1)<<shift - 1
}

// add counts one time. A negative one counts as 0.
func (h *histogram) add(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(ns)]++
	h.total++
	h.max = max(h.max, ns)
}

// quantile is a time that the part q of all counted ones does not exceed, at
// most 1/64 too long. It is 0 when nothing was counted.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q*float64(h.total) + 0.5)
	rank = min(max(rank, 1), h.total)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(min(upper(i), h.max))
		}
	}
	return 0
}

// Latency is how long something took, in milliseconds.
type Latency struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50Ms"`
	P90   float64 `json:"p90Ms"`
	P99   float64 `json:"p99Ms"`
	Max   float64 `json:"maxMs"`
}

func (h *histogram) latency() Latency {
	return Latency{Count: h.total, P50: millis(h.quantile(0.5)), P90: millis(h.quantile(0.9)),
		P99: millis(h.quantile(0.99)), Max: millis(time.Duration(h.max))}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
