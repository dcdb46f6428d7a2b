package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"
)

// tokens keeps the token at hand and asks for the next one.
type tokens struct {
	ask TokenFunc
	// turn is held while ask runs. A mutex could not be left when a context
	// ends.
	turn chan struct{}
	// changed has something when there is another token.
	changed chan struct{}

	mu       sync.Mutex
	now      token
	got      time.Time
	refused  string // the token that the server did not take
	refusals int    // how often it did not take this one
	inRow    int    // how often it did not take any, since it took one
	taken    bool   // it took one once
}

// token is what is read of a JWT. It is not checked: the server does that.
type token struct {
	text string
	user string
	ends time.Time // zero if it does not say
}

// maxRefusals is how often the same token may be refused before there is no
// sense in trying. More than once: clocks differ.
const maxRefusals = 3

func newTokens(ask TokenFunc) *tokens {
	return &tokens{ask: ask, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// get gives a token that holds as far as one can see.
func (t *tokens) get(ctx context.Context) (token, error) {
	if now, ok := t.good(); ok {
		return now, nil
	}
	return t.renew(ctx, t.good)
}

func (t *tokens) good() (token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := !t.now.ends.IsZero() && !time.Now().Before(t.now.ends)
	return t.now, t.now.text != "" && t.now.text != t.refused && !ended
}

// user is that of the first token: all tokens have one.
func (t *tokens) user() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.user
}

// renew asks for a token, unless somebody did so meanwhile.
func (t *tokens) renew(ctx context.Context, enough func() (token, bool)) (token, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return token{}, ctx.Err()
	}
	defer func() { <-t.turn }()
	if now, ok := enough(); ok {
		return now, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	text, err := t.ask(ctx)
	if err != nil {
		return token{}, &Error{Code: CodeUnauthorized, Message: "getting a token: " + err.Error(), Err: err}
	}
	next, err := readToken(strings.TrimSpace(text))
	if err != nil {
		return token{}, err
	}
	return t.take(next)
}

func (t *tokens) take(next token) (token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now.user != "" && t.now.user != next.user {
		return token{}, &fatalError{&Error{Code: CodeUnauthorized, Message: "the new token is of another user"}}
	}
	switch {
	case next.text != t.now.text:
		t.got = time.Now()
		select {
		case t.changed <- struct{}{}:
		default:
		}
	case next.text == t.refused && t.refusals >= maxRefusals,
		!next.ends.IsZero() && !time.Now().Before(next.ends):
		return token{}, &fatalError{&Error{Code: CodeUnauthorized, Message: "the token has ended or is refused, and there is no other"}}
	}
	t.now = next
	return next, nil
}

// refuse remembers that the server did not take a token.
func (t *tokens) refuse(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused != text {
		t.refused, t.refusals = text, 0
	}
	t.refusals++
	t.inRow++
}

// accept remembers that the server took a token.
func (t *tokens) accept() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inRow, t.taken = 0, true
}

// hopeless tells whether the server takes no token from this source at all.
func (t *tokens) hopeless() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.taken && t.inRow >= maxRefusals
}

// due is how long the token at hand is good for before it should be renewed.
// It is never so little that asking in vain makes a hot loop.
func (t *tokens) due() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now.ends.IsZero() {
		return time.Hour // it does not say; the server warns
	}
	lead := min(90*time.Second, t.now.ends.Sub(t.got)/3)
	left := time.Until(t.now.ends)
	return max(left-lead, left/2, time.Second)
}

// fatalError is an error after which trying again is useless.
type fatalError struct{ why *Error }

func (e *fatalError) Error() string { return e.why.Error() }
func (e *fatalError) Unwrap() error { return e.why }

// readToken reads the user and the end of a JWT.
func readToken(text string) (token, error) {
	bad := func(why string) (token, error) {
		return token{}, &Error{Code: CodeUnauthorized, Message: "the token " + why}
	}
	if text == "" {
		return bad("is empty")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return bad("is not a JWT")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return bad("is not a JWT")
	}
	var c struct {
		Subject string  `json:"sub"`
		Ends    float64 `json:"exp"`
	}
	if json.Unmarshal(claims, &c) != nil {
		return bad("is not a JWT")
	}
	if c.Subject == "" || strings.ContainsAny(c.Subject, "/+#") {
		return bad("has no sub that is the id of a user")
	}
	t := token{text: text, user: c.Subject}
	if c.Ends > 0 {
		t.ends = time.Unix(int64(c.Ends), 0)
	}
	return t, nil
}

// keepToken renews the token in place before it ends, as long as the client
// lives.
func (c *Client) keepToken() {
	for {
		timer := time.NewTimer(c.tokens.due())
		select {
		case <-c.ctx.Done():
			timer.Stop()
			return
		case <-c.tokens.changed:
			timer.Stop()
			continue
		case <-c.expiring:
			timer.Stop()
		case <-timer.C:
		}
		if err := c.renewInPlace(c.ctx); err != nil && c.ctx.Err() == nil {
			c.o.Logger.Warn("the token could not be renewed", "error", err)
			if !pause(c.ctx, jitter(5*time.Second)) {
				return
			}
		}
	}
}

// renewInPlace gets a token and gives it to the connection, if there is one.
func (c *Client) renewInPlace(ctx context.Context) error {
	before := c.tokens.current()
	next, err := c.tokens.renew(ctx, func() (token, bool) { return token{}, false })
	if err != nil {
		return err
	}
	conn := c.current()
	if conn == nil || next.text == before {
		return nil
	}
	_, err = conn.publish(ctx, "users/"+c.UserID()+"/token", []byte(next.text))
	if errors.Is(err, ErrForbidden) {
		c.tokens.refuse(next.text)
	}
	return err
}

func (t *tokens) current() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.text
}
