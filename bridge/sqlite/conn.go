package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
)

// conn is a connection with its prepared statements. It belongs to one call
// at a time. Statements run without the call's context: each is short, and a
// context that can end would cost every statement a goroutine.
type conn struct {
	c     *sql.Conn
	ctx   context.Context
	stmts map[string]*sql.Stmt
}

func (c *conn) stmt(query string) (*sql.Stmt, error) {
	if st := c.stmts[query]; st != nil {
		return st, nil
	}
	st, err := c.c.PrepareContext(c.ctx, query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = st
	return st, nil
}

// exec answers how many rows the statement changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	st, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(c.ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// row is the first row of a query.
func (c *conn) row(query string, args ...any) row {
	st, err := c.stmt(query)
	if err != nil {
		return row{err: err}
	}
	return row{row: st.QueryRowContext(c.ctx, args...)}
}

type row struct {
	row *sql.Row
	err error
}

// Scan answers sql.ErrNoRows where there is no row.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.row.Scan(dest...)
}

// find is Scan where a missing row is no error.
func (r row) find(dest ...any) (found bool, err error) {
	err = r.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// each calls do for every row of a query.
func (c *conn) each(do func(rows *sql.Rows) error, query string, args ...any) error {
	st, err := c.stmt(query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(c.ctx, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := do(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// pool lends out a fixed number of connections. A place whose connection
// broke, or that was not used yet, is nil and gets one when it is needed.
type pool struct {
	db     *sql.DB
	free   chan *conn
	closed chan struct{}
	once   sync.Once
}

var errClosed = errors.New("sqlite: the store is closed")

func openPool(dsn string, conns int) (*pool, error) {
	db, err := openDB(dsn, conns)
	if err != nil {
		return nil, err
	}
	p := &pool{db: db, free: make(chan *conn, conns), closed: make(chan struct{})}
	for range conns {
		p.free <- nil
	}
	return p, nil
}

func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.closed: // alone first: of two that are ready select takes either
		return nil, errClosed
	default:
	}
	select {
	case <-p.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case c := <-p.free:
		if c != nil {
			return c, nil
		}
		sc, err := p.db.Conn(ctx)
		if err != nil {
			p.free <- nil
			return nil, err
		}
		return &conn{c: sc, ctx: context.Background(), stmts: map[string]*sql.Stmt{}}, nil
	}
}

func (p *pool) put(c *conn) { p.free <- c }

// close gives the connection back to database/sql. The statements come first:
// nobody else closes them, and SQLite keeps a connection, with its locks, for
// as long as it has one.
func (c *conn) close() (err error) {
	for _, st := range c.stmts {
		err = errors.Join(err, st.Close())
	}
	return errors.Join(err, c.c.Close())
}

// drop closes a connection that is in a state nobody knows, and leaves its
// place empty.
func (p *pool) drop(c *conn) {
	for _, st := range c.stmts {
		_ = st.Close()
	}
	_ = c.c.Raw(func(any) error { return driver.ErrBadConn }) // database/sql then closes it for good
	p.free <- nil
}

// close waits for the connections that are out. A second call does nothing.
func (p *pool) close() (err error) {
	p.once.Do(func() {
		close(p.closed)
		for range cap(p.free) {
			if c := <-p.free; c != nil {
				err = errors.Join(err, c.close())
			}
		}
		err = errors.Join(err, p.db.Close())
	})
	return err
}

// transact runs do in a transaction, which is rolled back when do fails.
func (p *pool) transact(ctx context.Context, begin string, do func(c *conn) error) error {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	broken := true // also when do panics
	defer func() {
		if broken {
			p.drop(c)
		} else {
			p.put(c)
		}
	}()
	if _, err = c.exec(begin); err == nil {
		if err = do(c); err == nil {
			_, err = c.exec("COMMIT")
		}
		if err != nil && !c.rollback() {
			return err
		}
	}
	broken = false
	return err
}

// rollback ends the transaction. SQLite may have ended it itself, because of
// the error that leads here; then a new one can begin.
func (c *conn) rollback() bool {
	if _, err := c.exec("ROLLBACK"); err == nil {
		return true
	}
	if _, err := c.exec("BEGIN"); err != nil {
		return false
	}
	_, err := c.exec("ROLLBACK")
	return err == nil
}

// write runs do in a transaction that may write. No other runs beside it.
func (s *Store) write(ctx context.Context, do func(c *conn) error) error {
	return explain(s.writer.transact(ctx, "BEGIN IMMEDIATE", func(c *conn) error {
		s.keeper.watchLog(c)
		return do(c)
	}), true)
}

// read runs do on one state of the database.
func (s *Store) read(ctx context.Context, do func(c *conn) error) error {
	return explain(s.readers.transact(ctx, "BEGIN", do), false)
}
