package sqlite

import (
	"context"
	"os"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"
)

// keeper moves the write-ahead log into the file. SQLite does that in the
// commit that makes the log too long, which then takes twenty times as long as
// others. Here all but the end of the log is moved beside the writer, and
// little at a time, so that the disk has time for commits. The writer waits for
// the end alone: it has to, or the log never begins anew, for a busy writer is
// always ahead.
type keeper struct {
	pool    *pool           // one connection, beside the writer
	file    *os.File        // open for as long as SQLite has it: closing it drops SQLite's locks
	due     chan struct{}   // has room for one
	ctx     context.Context // ends with the store
	end     context.CancelFunc
	running sync.WaitGroup

	written atomic.Int64 // pages that came into the log since it began
	moved   atomic.Int64 // how many that were when it was moved last
}

const (
	// moveAfter is after how many pages the log is moved.
	moveAfter = 1000
	// beginAfter is after how many the writer waits, and the log begins anew.
	beginAfter = 4000
	// checkpoint moves what no reader needs in the log any more, and waits for
	// nobody.
	checkpoint = `PRAGMA wal_checkpoint(PASSIVE)`
)

func (s *Store) startKeeper() (err error) {
	k := &s.keeper
	if k.file, err = os.OpenFile(s.path, os.O_RDWR, 0); err != nil {
		return err
	}
	if k.pool, err = openPool(s.dsn(keeperPragmas), 1); err != nil {
		return err
	}
	k.due = make(chan struct{}, 1)
	k.ctx, k.end = context.WithCancel(context.Background())
	k.running.Go(func() {
		for {
			select {
			case <-k.ctx.Done():
				return
			case <-k.due:
				s.moveLog(k.ctx)
			}
		}
	})
	return nil
}

// moveLog moves the log. What fails, as on a full disk, is made up for by the
// next time, or by SQLite itself.
func (s *Store) moveLog(ctx context.Context) {
	k := &s.keeper
	written := k.written.Load()
	if k.checkpoint(ctx, k.pool, nil) != nil {
		return
	}
	// SQLite leaves this to the step that comes to the end of the log.
	if k.file.Sync() != nil {
		return
	}
	if k.moved.Store(written); written < beginAfter {
		return
	}
	_ = k.checkpoint(ctx, s.writer, func(c *conn) {
		_, _ = c.pagesWritten(true)
		k.written.Store(0)
		k.moved.Store(0)
	})
}

func (k *keeper) checkpoint(ctx context.Context, p *pool, then func(*conn)) error {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	defer p.put(c)
	if then != nil {
		defer then(c)
	}
	var busy, log, moved int
	return c.row(checkpoint).Scan(&busy, &log, &moved)
}

// watchLog has the log moved when it has grown. It looks at what was written
// before the transaction that c is in.
func (k *keeper) watchLog(c *conn) {
	n, err := c.pagesWritten(false)
	if err != nil {
		return
	}
	k.written.Store(int64(n))
	if int64(n)-k.moved.Load() >= moveAfter {
		select {
		case k.due <- struct{}{}:
		default:
		}
	}
}

// pagesWritten counts the pages that the connection has written to the log
// since it was told to begin anew.
func (c *conn) pagesWritten(anew bool) (n int, err error) {
	err = c.c.Raw(func(raw any) (err error) {
		n, _, err = raw.(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, anew)
		return err
	})
	return n, err
}

// stop ends the goroutine. The file is to be closed after the last connection.
func (k *keeper) stop() error {
	if k.pool == nil {
		return nil
	}
	k.end()
	k.running.Wait()
	return k.pool.close()
}
