package api

import (
	"strings"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// retention is how long a conversation keeps its entries.
type retention struct {
	Age   string `json:"age,omitempty" maxLength:"32" doc:"How old an entry may grow, in hours, minutes and seconds: a minute at least. Left out: as old as it likes." example:"720h"`
	Count uint64 `json:"count,omitempty" doc:"How many of the newest entries are kept. Left out or 0: all." example:"1000"`
}

// retentionChange is retention as a caller sends it: closed to unknown keys.
type retentionChange retention

const (
	minRetention = time.Minute
	maxRetention = 100 * 365 * 24 * time.Hour
	maxCount     = 1 << 53 // what every JSON reader can hold
)

// parse reads what a caller wants. Nothing at all is no retention.
func (r retentionChange) parse() (bridge.Retention, error) {
	parsed := bridge.Retention{Count: r.Count}
	if r.Count > maxCount {
		return parsed, chat.Invalid("retention", "count is too large")
	}
	if r.Age == "" {
		return parsed, nil
	}
	age, err := time.ParseDuration(r.Age)
	switch {
	case err != nil:
		return parsed, chat.Invalid("retention", `age is not a time such as "720h"`)
	case age < minRetention || age > maxRetention || age%time.Second != 0:
		return parsed, chat.Invalid("retention", "age must be whole seconds, from a minute to a hundred years")
	}
	parsed.Age = age
	return parsed, nil
}

// retentionOf is nil where the conversation says nothing of its own.
func retentionOf(r bridge.Retention) *retention {
	if r == (bridge.Retention{}) {
		return nil
	}
	out := &retention{Count: r.Count}
	if r.Age > 0 {
		out.Age = r.Age.String() // as in 720h0m0s
		if strings.HasSuffix(out.Age, "m0s") {
			out.Age = strings.TrimSuffix(out.Age, "0s")
		}
		if strings.HasSuffix(out.Age, "h0m") {
			out.Age = strings.TrimSuffix(out.Age, "0m")
		}
	}
	return out
}
