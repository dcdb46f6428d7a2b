package ingest

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// journalFile is a journal on disk: lines of text, appended. The first is
//
//	parley-bridge 1 <session> <instance> <next> <window>
//
// and the others
//
//	b <id> <n> <qos> <digest>   bound
//	d <id>                      done
//	e <id>                      released: a message of QoS 2 has ended
//	f <id>                      forgotten
//	r                           all forgotten
//	w <window>
//	s <filters>                 subscribed to, as JSON
//
// It is written anew when it has grown, by renaming. A tail that is torn was
// never synced, so nothing that matters stands in it.
type journalFile struct {
	path    string
	session string
	lock    *os.File
	lines   []byte // noted and not written; the journal's lock guards it

	io     sync.Mutex
	f      *os.File
	size   int64
	broken bool // a write failed: what f ends with is not known
}

const (
	journalMagic = "parley-bridge 1 "
	// journalBytes is where the file is written anew. All 65,535 identifiers
	// bound take half of it.
	journalBytes = 8 << 20
)

func (f *journalFile) bind(id uint16, b *binding) {
	f.lines = fmt.Appendf(f.lines, "b %d %d %d %x\n", id, b.n, b.qos, b.digest)
	if b.done {
		f.done(id)
	}
	if b.ended != 0 && b.qos == 2 {
		f.released(id)
	}
}
func (f *journalFile) released(id uint16) { f.lines = fmt.Appendf(f.lines, "e %d\n", id) }
func (f *journalFile) done(id uint16)     { f.lines = fmt.Appendf(f.lines, "d %d\n", id) }
func (f *journalFile) forget(id uint16)   { f.lines = fmt.Appendf(f.lines, "f %d\n", id) }
func (f *journalFile) reset()             { f.lines = append(f.lines, "r\n"...) }
func (f *journalFile) filters(all []string) {
	list, _ := json.Marshal(all) // texts always can be
	f.lines = fmt.Appendf(f.lines, "s %s\n", list)
}
func (f *journalFile) window(n uint16) { f.lines = fmt.Appendf(f.lines, "w %d\n", n) }

// take gives what is to be written: lines to append, or the whole file. Both
// locks are held.
func (f *journalFile) take(j *journal) (lines []byte, whole bool) {
	lines, f.lines = f.lines, nil
	if !f.broken && f.f != nil && f.size+int64(len(lines)) <= journalBytes {
		return lines, false
	}
	fresh := journalFile{}
	fresh.lines = fmt.Appendf(nil, "%s%s %s %d %d\n", journalMagic, f.session, j.instance, j.next, j.window)
	if len(j.filters) > 0 {
		fresh.filters(j.filters)
	}
	ids := slices.Collect(maps.Keys(j.live))
	slices.SortFunc(ids, func(a, b uint16) int { return cmp.Compare(j.live[a].n, j.live[b].n) })
	for _, id := range ids {
		if b := j.live[id]; b.ended != 0 && j.next-b.n >= cycle {
			delete(j.live, id)
		} else {
			fresh.bind(id, b)
		}
	}
	return fresh.lines, true
}

// write makes lines durable. io is held.
func (f *journalFile) write(lines []byte, whole bool) error {
	if len(lines) == 0 {
		return nil
	}
	var err error
	if whole {
		err = f.replace(lines)
	} else {
		_, err = f.f.Write(lines)
		f.size += int64(len(lines))
		if err == nil {
			err = syncFile(f.f)
		}
	}
	f.broken = err != nil
	return err
}

// syncFile makes a file durable. Tests, of which no machine loses its power,
// do without.
var syncFile = (*os.File).Sync

// replace puts a new file in the place of the old one.
func (f *journalFile) replace(text []byte) error {
	fresh, err := os.OpenFile(f.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fresh.Write(text)
	if err == nil {
		err = syncFile(fresh)
	}
	if err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(f.path))
	}
	if err != nil {
		return errors.Join(err, fresh.Close())
	}
	if f.f != nil {
		_ = f.f.Close() // all of it was synced, or is in the new one
	}
	f.f, f.size = fresh, int64(len(text))
	return nil
}

// syncFolder makes a rename durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncFile(d), d.Close())
}

func (f *journalFile) close() error {
	f.io.Lock()
	defer f.io.Unlock()
	var err error
	if f.f != nil {
		err = f.f.Close()
	}
	return errors.Join(err, f.lock.Close())
}

// openJournalFile reads what stands in the file into a journal. Another
// process that has it open is an error.
func openJournalFile(path, session string, j *journal) (*journalFile, error) {
	f := &journalFile{path: path, session: session}
	var err error
	if f.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = nil, nil
	}
	if err == nil {
		err = j.read(string(text), session)
	}
	if err == nil {
		f.broken = true // write it anew, without a torn tail
		f.io.Lock()
		var lines []byte
		lines, _ = f.take(j)
		err = f.write(lines, true)
		f.io.Unlock()
	}
	if err != nil {
		return nil, errors.Join(err, f.lock.Close())
	}
	return f, nil
}

// read reads a file. One of another session counts as none.
func (j *journal) read(text, session string) error {
	r := bufio.NewReader(strings.NewReader(text))
	first, err := r.ReadString('\n')
	if err != nil { // not a whole line
		return j.begin()
	}
	if !strings.HasPrefix(first, journalMagic) {
		return errors.New("is not a journal of a bridge")
	}
	var of string
	if _, err := fmt.Sscanf(first[len(journalMagic):], "%s %s %d %d\n", &of, &j.instance, &j.next, &j.window); err != nil {
		return fmt.Errorf("its first line: %w", err)
	}
	if of != session {
		return j.begin()
	}
	for {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) || !j.readLine(line) {
			return nil
		}
	}
}

// begin makes a journal that has no past. Its clientIds differ from those of
// every other.
func (j *journal) begin() error {
	var raw [5]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	j.instance, j.next, j.window = base32Lower.EncodeToString(raw[:]), 1, 0
	return nil
}

// readLine reads a line behind the first, and says whether it is whole.
func (j *journal) readLine(line string) bool {
	var (
		id, window uint16
		n          uint64
		qos        byte
		hash       string
	)
	scan := func(format string, to ...any) bool {
		_, err := fmt.Sscanf(line, format, to...)
		return err == nil
	}
	switch line[0] {
	case 'b':
		if !scan("b %d %d %d %s\n", &id, &n, &qos, &hash) || len(hash) != 2*len(digest{}) {
			return false
		}
		b := &binding{n: n, qos: qos}
		if _, err := hex.Decode(b.digest[:], []byte(hash)); err != nil {
			return false
		}
		if qos == 1 {
			b.ended = beforeStart // whether it was acknowledged is not written
		}
		j.live[id] = b
		j.next = max(j.next, n+1)
		j.count(id)
	case 'd':
		if !scan("d %d\n", &id) {
			return false
		}
		if b := j.live[id]; b != nil {
			b.done = true
		}
	case 'e':
		if !scan("e %d\n", &id) {
			return false
		}
		if b := j.live[id]; b != nil && b.qos == 2 {
			b.ended = beforeStart
		}
	case 'f':
		if !scan("f %d\n", &id) {
			return false
		}
		delete(j.live, id)
	case 'r':
		j.forgetSession()
	case 's':
		return json.Unmarshal([]byte(line[1:]), &j.filters) == nil
	case 'w':
		if !scan("w %d\n", &window) {
			return false
		}
		j.window = window
	default:
		return false
	}
	return true
}
