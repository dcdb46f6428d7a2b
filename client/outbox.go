package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Pending is a message that is not committed yet.
type Pending struct {
	ConversationID string    `json:"conversationId"`
	QueuedAt       time.Time `json:"queuedAt"`
	Draft
}

// Outbox is where messages wait until they are committed or refused for good.
// Its methods may be called from any goroutine. Each is one step that holds as
// a whole when it returns.
type Outbox interface {
	// Load gives what waits, oldest first. It is called once, by New.
	Load() ([]Pending, error)
	// Put keeps a message, whose ClientID is never empty.
	Put(p Pending) error
	// Remove forgets it. What is not there is forgotten.
	Remove(clientID string) error
}

// noOutbox keeps nothing: what waits is in the memory of those who wait.
type noOutbox struct{}

func (noOutbox) Load() ([]Pending, error) { return nil, nil }
func (noOutbox) Put(Pending) error        { return nil }
func (noOutbox) Remove(string) error      { return nil }

// dirOutbox keeps each message in a file.
type dirOutbox struct {
	dir string

	mu    sync.Mutex
	next  uint64
	files map[string]string // by client id
}

const pendingSuffix = ".pending.json"

// OpenOutbox makes an Outbox of a folder, for one client at a time. A message
// is on the disk when Send begins to send it, and gone when it is committed;
// what is there when a client begins is sent, and told as Resent.
func OpenOutbox(dir string) (Outbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &dirOutbox{dir: dir, files: make(map[string]string)}, nil
}

func (o *dirOutbox) Load() ([]Pending, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(o.dir, "*"+pendingSuffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(names) // they begin with a number of fixed length
	var all []Pending
	for _, name := range names {
		text, err := os.ReadFile(name) // #nosec G304 -- it is in the folder that was given
		if err != nil {
			return nil, err
		}
		var p Pending
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var n uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%020d", &n); err == nil {
			o.next = max(o.next, n+1)
		}
		o.files[p.ClientID] = name
		all = append(all, p)
	}
	return all, nil
}

func (o *dirOutbox) Put(p Pending) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	name, ok := o.files[p.ClientID]
	if !ok {
		name = filepath.Join(o.dir, fmt.Sprintf("%020d%s", o.next, pendingSuffix))
		o.next++
	}
	if err := writeFile(name, text); err != nil {
		return err
	}
	o.files[p.ClientID] = name
	return nil
}

func (o *dirOutbox) Remove(clientID string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	name, ok := o.files[clientID]
	if !ok {
		return nil
	}
	delete(o.files, clientID)
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeFile writes a file that is there as a whole or not at all.
func writeFile(name string, text []byte) error {
	temporary := strings.TrimSuffix(name, pendingSuffix) + ".tmp"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- as above
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}
