package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds an answer of the server. The largest is that of sync.
const maxAnswer = 64 << 20

// do asks the server over REST. in is sent as JSON and out read from it, where
// they are not nil. A token that is refused is asked for anew, once.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	if c.o.rest == "" {
		return option("RESTURL", "is needed for this")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
		}
	}
	for again := false; ; again = true {
		t, err := c.tokens.get(ctx)
		if err != nil {
			return c.asked(ctx, err)
		}
		err = c.once(ctx, t.text, method, path, query, body, out)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusUnauthorized && !again {
			c.tokens.refuse(t.text)
			continue
		}
		return c.asked(ctx, err)
	}
}

// asked makes an *Error of what went wrong, but where the context ended.
func (c *Client) asked(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		return c.ended()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return network(err)
}

func (c *Client) once(ctx context.Context, token, method, path string, query url.Values, body []byte, out any) error {
	address := c.o.rest + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.o.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return problemOf(answer, text)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &Error{Code: CodeNetwork, Status: answer.StatusCode, Message: "the answer cannot be read: is this a Parley?", Err: err}
	}
	return nil
}

// problemOf reads a problem document.
func problemOf(answer *http.Response, text []byte) *Error {
	e := &Error{Status: answer.StatusCode}
	var p struct{ Code, Detail, Field string }
	if json.Unmarshal(text, &p) == nil && p.Code != "" {
		e.Code, e.Message, e.Field = p.Code, p.Detail, p.Field
	} else {
		e.Code, e.Message = CodeInternal, answer.Status
		switch {
		case answer.StatusCode >= 500: // a proxy in between
			e.Code = CodeUnavailable
		case answer.StatusCode == http.StatusUnauthorized:
			e.Code = CodeUnauthorized
		}
	}
	if s, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// at makes a path below /v1 of words.
func at(words ...string) string {
	for i, w := range words {
		words[i] = url.PathEscape(w)
	}
	return "/v1/" + strings.Join(words, "/")
}

func (r Range) query() url.Values {
	q := url.Values{}
	if r.Before > 0 {
		q.Set("before", strconv.FormatUint(r.Before, 10))
	}
	if r.After > 0 || r.Before == 0 && r.FromStart {
		q.Set("after", strconv.FormatUint(r.After, 10))
	}
	setLimit(q, r.Limit)
	return q
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	if o.Cursor != "" {
		q.Set("cursor", o.Cursor)
	}
	setLimit(q, o.Limit)
	return q
}

func setLimit(q url.Values, limit int) {
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
}
