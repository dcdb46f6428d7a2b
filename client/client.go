package client

import (
	"context"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
)

// Client is a user's connection to Parley. Make one with Connect or New.
type Client struct {
	o        *settled
	ctx      context.Context // ends with the client
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	cm       *autopaho.ConnectionManager
	tokens   *tokens
	feed     *feed
	sends    *sends
	losses   chan loss
	expiring chan struct{}
	done     chan struct{} // closed when all has ended

	mu       sync.Mutex
	raw      *conn // the connection that is there, be it ready or not
	conn     *conn // the one that is ready, or nil
	up       chan struct{}
	since    time.Time // of raw
	failures int
	fatal    *Error
	status   Status
	news     chan struct{} // closed when status changes
	presence string
	typing   map[string]time.Time // when typing was last said
}

// New makes a client, which connects by itself, as soon as it can and again
// whenever the link breaks, until Close. An error is about the options.
func New(o Options) (*Client, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{o: s, ctx: ctx, cancel: cancel, tokens: newTokens(o.Token),
		losses: make(chan loss, 1), expiring: make(chan struct{}, 1), done: make(chan struct{}),
		up: make(chan struct{}), news: make(chan struct{}), status: Status{State: StateConnecting},
		typing: make(map[string]time.Time)}
	c.feed = newFeed(c)
	c.sends = newSends(c)
	if err := c.sends.load(); err != nil {
		cancel()
		return nil, err
	}
	if err := c.dial(); err != nil {
		cancel()
		return nil, option("URL", "%v", err)
	}
	c.wg.Go(c.keepToken)
	c.wg.Go(c.feed.run)
	go c.await()
	return c, nil
}

// Connect makes a client and waits until it is connected. When ctx ends
// before, the client is closed, and the error says what was in the way. ctx
// has no meaning for the client after that.
func Connect(ctx context.Context, o Options) (*Client, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := c.Ready(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Ready waits until there is a connection. The error says what is in the way.
func (c *Client) Ready(ctx context.Context) error {
	for {
		c.mu.Lock()
		conn, fatal, status, news := c.conn, c.fatal, c.status, c.news
		c.mu.Unlock()
		switch {
		case fatal != nil:
			return fatal
		case c.ctx.Err() != nil:
			return ErrClosed
		case conn != nil:
			return nil
		}
		select {
		case <-news:
		case <-c.ctx.Done():
		case <-ctx.Done():
			e := &Error{Code: CodeNetwork, Message: "not connected", Err: ctx.Err()}
			if status.Err != nil {
				e.Code, e.Message = status.Err.Code, status.Err.Message
			}
			return e
		}
	}
}

// goodbye is how long taking leave of the server may take.
const goodbye = 3 * time.Second

// await ends the client when its context has ended.
func (c *Client) await() {
	<-c.ctx.Done()
	c.mu.Lock()
	raw := c.raw
	c.mu.Unlock()
	select {
	case <-c.cm.Done(): // it sends DISCONNECT
	case <-time.After(goodbye):
		if raw != nil { // the server takes nothing
			raw.cut()
		}
		<-c.cm.Done()
	}
	c.sends.close()
	c.wg.Wait()
	c.o.http.CloseIdleConnections()
	c.mu.Lock()
	c.status = Status{State: StateClosed, Err: c.fatal}
	status := c.status
	close(c.news)
	c.news = make(chan struct{})
	c.mu.Unlock()
	c.feed.end(status)
	close(c.done)
}

// Close ends the client and waits until all of it has ended. Sends that wait
// return ErrClosed; what is in Options.Outbox stays there. Events is closed.
func (c *Client) Close() error {
	c.cancel()
	<-c.done
	return nil
}

// Done is closed when the client has ended: after Close, or because trying
// again is useless. Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the client has ended by itself: nil while it lives and after
// Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fatal == nil {
		return nil
	}
	return c.fatal
}

// fail ends the client for good.
func (c *Client) fail(e *Error) {
	c.mu.Lock()
	if c.fatal == nil && c.ctx.Err() == nil {
		c.fatal = e
	}
	c.mu.Unlock()
	c.cancel()
}

// UserID is the user, from the token: empty until the first one is there.
func (c *Client) UserID() string { return c.tokens.user() }

// Status is where the link stands now.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *Client) setStatus(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putStatus(s)
}

// setStatusOf is setStatus for what a connection says of itself: nothing, when
// it is gone.
func (c *Client) setStatusOf(conn *conn, s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw == conn && conn.ctx.Err() == nil {
		c.putStatus(s)
	}
}

// putStatus tells a status while mu is held: the last one told is the one that
// is.
func (c *Client) putStatus(s Status) {
	if c.ctx.Err() != nil || c.status == s {
		return
	}
	c.status = s
	close(c.news)
	c.news = make(chan struct{})
	if !c.o.SendOnly {
		c.feed.in.putState(statusKey, s)
	}
}

// noteError has the next status tell why there is no connection.
func (c *Client) noteError(e *Error) {
	c.setStatus(Status{State: StateConnecting, Err: e})
}

// current is the connection that is ready, or nil.
func (c *Client) current() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.ctx.Err() != nil { // it was cut, and its end is on the way
		return nil
	}
	return c.conn
}

// noticed is how often to look whether the end of a connection was noticed.
const noticed = 10 * time.Millisecond

// ready waits for a connection that is ready.
func (c *Client) ready(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		conn, up := c.conn, c.up
		c.mu.Unlock()
		switch {
		case c.ctx.Err() != nil:
			return nil, c.ended()
		case conn != nil && conn.ctx.Err() == nil:
			return conn, nil
		case conn != nil: // cut; up is closed until that is noticed
			if !pause(ctx, noticed) {
				return nil, ctx.Err()
			}
			continue
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
			return nil, c.ended()
		}
	}
}

// ended is the error of what a client that has ended is asked for.
func (c *Client) ended() *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fatal != nil {
		return c.fatal
	}
	return &Error{Code: CodeClosed, Message: "the client is closed"}
}
