// Package ingest reads another MQTT broker and writes what it says to Parley.
// A message is acknowledged to the other broker when it is committed here, or
// was refused for good and dealt with. What comes again, because somebody was
// restarted in between, stands once.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is a bridge. All of it is checked by who makes it.
type Config struct {
	Source        *url.URL // mqtt:// or mqtts://, with a port
	SourceTLS     TLSFiles
	User          string
	Password      string
	PasswordFile  string // read at each connection
	ClientID      string // "" is one that the journal keeps
	SessionExpiry time.Duration
	Window        uint16 // Receive Maximum
	MaxPacket     int
	QoS           byte
	Retained      bool // what stands retained is read too when a filter is new

	Routes  []Route
	Content Template
	Base64  bool
	IDs     IDRule

	Target    *url.URL
	TargetTLS TLSFiles
	Token     Tokens
	Create    *Creator // nil: conversations are there or messages are refused

	OnRefusal       Policy
	DeadLetterFile  string
	DeadLetterBytes int64

	Journal         string // path
	ShutdownTimeout time.Duration
	Logger          *slog.Logger
	Registerer      prometheus.Registerer
}

// filters are those to subscribe to, each once.
func (c *Config) filters() []string {
	var all []string
	seen := make(map[string]bool)
	for _, r := range c.Routes {
		if !seen[r.filter] {
			seen[r.filter] = true
			all = append(all, r.filter)
		}
	}
	return all
}

// retainHandling is MQTT's: 1 sends what is retained when the subscription is
// new, 2 never.
func (c *Config) retainHandling() byte {
	if c.Retained {
		return 1
	}
	return 2
}

// password is what the source asks for.
func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	return readLine(c.PasswordFile)
}

// session names whose packet identifiers a journal keeps.
func (c *Config) session() string {
	sum := sha256.Sum256([]byte(c.Source.Host + "\x00" + c.ClientID + "\x00" + c.User))
	return hex.EncodeToString(sum[:8])
}

// bridge is what its parts share.
type bridge struct {
	cfg     Config
	log     *slog.Logger
	mapper  mapper
	journal *journal
	metrics *metrics
	health  *Health
	source  *source
	sink    *sink
	refuser *refuser
	fail    func(error) // ends the bridge
}

// Run runs a bridge until ctx ends, then lets what is under way be committed
// and answers nil. An error says why it ended by itself.
func Run(ctx context.Context, cfg Config, health *Health) error {
	b := &bridge{cfg: cfg, log: cfg.Logger, health: health, metrics: newMetrics(cfg.Registerer),
		mapper: mapper{routes: cfg.Routes, content: cfg.Content, base64: cfg.Base64, ids: cfg.IDs}}
	for _, file := range []string{cfg.Journal, cfg.DeadLetterFile} {
		if file == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
	}
	var err error
	if b.journal, err = openJournal(cfg.Journal, cfg.session()); err != nil {
		return err
	}
	b.metrics.watch(cfg.Registerer, b)
	b.source, b.sink = newSource(b), newSink(b)
	if b.refuser, err = newRefuser(b); err != nil {
		return errors.Join(fmt.Errorf("the dead letters: %w", err), b.journal.close())
	}
	return errors.Join(b.run(ctx), b.refuser.close(), b.journal.close())
}

// run starts the parts in the order of the way, and stops them so.
func (b *bridge) run(ctx context.Context) error {
	reading, stopReading := context.WithCancelCause(ctx)
	defer stopReading(nil)
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	b.fail = stopReading

	var reader, workers sync.WaitGroup
	workers.Go(func() { b.source.journalling(working) })
	workers.Go(func() { b.sink.run(working) })
	workers.Go(func() { b.refuser.run(working) })
	reader.Go(func() { b.source.run(reading) })

	<-reading.Done()
	b.log.Info("stopping")
	reader.Wait()
	drain, cancel := context.WithTimeout(working, b.cfg.ShutdownTimeout)
	defer cancel()
	cause := context.Cause(reading)
	if errors.Is(cause, ErrRefused) {
		cancel() // what is refused keeps what is behind it from being acknowledged
	} else {
		cause = nil
	}
	b.source.stop(drain)
	stopWorking()
	workers.Wait()
	return cause
}
