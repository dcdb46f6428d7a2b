package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Policy says what is done with a message that can never be written.
type Policy string

// The policies.
const (
	Stop       Policy = "stop"        // the bridge ends; the source keeps the message
	Skip       Policy = "skip"        // it is logged, counted and acknowledged
	DeadLetter Policy = "dead-letter" // so too, when it stands in a file
)

// ErrRefused is in the error of a bridge that stopped at a refused message.
var ErrRefused = errors.New("a message was refused")

// refuser deals with refused messages. The line goes on meanwhile, as far as
// the source's window reaches.
type refuser struct {
	*bridge
	mu    sync.Mutex
	queue []*item
	kick  chan struct{}
	file  *os.File
	size  int64
	had   map[string]bool // ids in the file, of the bindings that may come again
}

// letter is a line of the file.
type letter struct {
	At      string `json:"at"`
	ID      string `json:"id"`
	Topic   string `json:"topic"`
	Reason  string `json:"reason"`
	Payload string `json:"payload,omitempty"`
	Base64  []byte `json:"payloadBase64,omitempty"` // of what is not text
	QoS     byte   `json:"qos"`
}

// recallBytes is how much of the end of the file is searched for messages
// that may come again: more than one window of them.
const recallBytes = 16 << 20

func newRefuser(b *bridge) (*refuser, error) {
	r := &refuser{bridge: b, kick: make(chan struct{}, 1), had: make(map[string]bool)}
	if b.cfg.OnRefusal != DeadLetter {
		return r, nil
	}
	var err error
	if r.file, err = os.OpenFile(b.cfg.DeadLetterFile, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	if err := r.recall(); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	return r, nil
}

// recall reads which messages the file ends with, and ends a line that a crash
// has torn.
func (r *refuser) recall() error {
	end, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	r.size = end
	from := max(0, end-recallBytes)
	lines := bufio.NewReader(io.NewSectionReader(r.file, from, end-from))
	for {
		line, err := lines.ReadBytes('\n')
		var l letter
		if json.Unmarshal(line, &l) == nil && err == nil {
			r.had[l.ID] = true
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) > 0:
			_, err = r.file.WriteString("\n")
			return err
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// push adds a message whose refusal is set.
func (r *refuser) push(it *item) {
	r.mu.Lock()
	r.queue = append(r.queue, it)
	r.mu.Unlock()
	wake(r.kick)
}

func (r *refuser) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		}
		r.mu.Lock()
		batch := r.queue
		r.queue = nil
		r.mu.Unlock()
		if len(batch) > 0 && !r.refuse(ctx, batch) {
			return
		}
	}
}

// refuse does what the policy says, and lets the source go on.
func (r *refuser) refuse(ctx context.Context, batch []*item) bool {
	r.metrics.refused.Add(float64(len(batch)))
	first := batch[0]
	r.log.Warn("refused for good", "topic", first.pb.Topic, "id", first.clientID, "reason", first.refusal,
		"then", string(r.cfg.OnRefusal), "messages", len(batch))
	switch r.cfg.OnRefusal {
	case Stop:
		r.fail(fmt.Errorf("%w: topic %q: %w", ErrRefused, first.pb.Topic, first.refusal))
		return false
	case DeadLetter:
		for pause := newBackoff(); ; {
			err := r.write(batch)
			r.health.set(partDeadLetters, err)
			if err == nil {
				break
			}
			r.log.Error("refused messages cannot be kept; the source waits", "error", err)
			if !pause.wait(ctx) {
				return false
			}
		}
	}
	for _, it := range batch {
		r.source.settle(it)
	}
	return true
}

// write appends messages to the file. One that failed is tried again as a
// whole: who reads the file goes by the ids.
func (r *refuser) write(batch []*item) error {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	for _, it := range batch {
		if r.had[it.clientID] {
			continue // a crash came before the acknowledgement
		}
		l := letter{At: time.Now().UTC().Format(chat.TimeFormat), ID: it.clientID, Topic: it.pb.Topic,
			Reason: it.refusal.Error(), QoS: it.pb.QoS}
		if utf8.Valid(it.pb.Payload) {
			l.Payload = string(it.pb.Payload)
		} else {
			l.Base64 = it.pb.Payload
		}
		if err := lines.Encode(l); err != nil {
			return err
		}
	}
	if text.Len() == 0 {
		return nil
	}
	if r.size+int64(text.Len()) > r.cfg.DeadLetterBytes {
		return fmt.Errorf("%s is full, with %d bytes; move it away and start again", r.cfg.DeadLetterFile, r.size)
	}
	n, err := r.file.Write(text.Bytes())
	r.size += int64(n)
	if err == nil {
		err = r.file.Sync()
	}
	return err
}

func (r *refuser) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
