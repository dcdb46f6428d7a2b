package client

import "time"

// WithAnswerTimeout is Options of a client that waits so long for one answer
// of the server.
func WithAnswerTimeout(o Options, d time.Duration) Options {
	o.answer = d
	return o
}
