package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// TokenFunc gives a token. It is called before the first connection, before
// the token at hand ends, and after one was refused; never twice at the same
// time. It must return when its context ends.
type TokenFunc func(ctx context.Context) (string, error)

// StaticToken always gives the same token. When that one is refused or ends,
// the client closes: there will be no better one.
func StaticToken(token string) TokenFunc {
	return func(context.Context) (string, error) { return token, nil }
}

// Options say how a client is made. URL and Token must be there.
type Options struct {
	// URL is the server: http(s)://host, with MQTT over WebSocket at /mqtt
	// below it; ws(s)://host/mqtt, which is the same; or mqtt(s)://host:port
	// for MQTT over TCP, with RESTURL.
	URL string
	// RESTURL is where /v1 is, where URL does not say it.
	RESTURL string
	// Token gives the token.
	Token TokenFunc
	// ClientID names this client within its user; made up where it is empty.
	// Of two with the same one, the older is closed with ErrTakenOver.
	ClientID string
	// After is where events go on: a Cursor of before. Without one they
	// begin with what is committed from now on. Where the server does not take
	// it, because it is from before a restore of the database or another
	// user's, they begin so too, and a Gap for each conversation says that it
	// is to be loaded. What was missed and is not held any more is not told of
	// by a Gap here, but shows by the seq of the first entry that comes.
	After string
	// Outbox is where messages wait until they are committed. nil is memory:
	// they then end with the process. See OpenOutbox.
	Outbox Outbox
	// SendOnly is for who reads no events: nothing is subscribed to, and
	// nothing is fetched.
	SendOnly bool
	// TLS is used for mqtts, wss and https; nil is the system's.
	TLS *tls.Config
	// MinBackoff and MaxBackoff bound the wait before a reconnect, half a
	// second and 30 seconds where they are 0. Waits are jittered.
	MinBackoff, MaxBackoff time.Duration
	// KeepAlive is how often at least something is sent, 30 seconds where it
	// is 0. It bounds how long a dead link goes unnoticed.
	KeepAlive time.Duration
	// Buffer is how many entries may wait for a slow reader, 1,024 where it
	// is 0. See the package's words on slow readers.
	Buffer int
	// Logger is told of what the client gets over by itself; nil is nobody.
	Logger *slog.Logger

	answer time.Duration // for one answer of the server; tests have less
}

// settled are Options that were checked, with their defaults.
type settled struct {
	Options
	mqtt *url.URL
	rest string // without a slash at its end, "" if there is none
	http *http.Client
}

const (
	answerTimeout = 30 * time.Second // for one answer of the server
	tokenTimeout  = 30 * time.Second // for one token
)

func (o Options) settle() (*settled, error) {
	s := &settled{Options: o}
	if o.Token == nil {
		return nil, option("Token", "is missing")
	}
	if err := s.urls(); err != nil {
		return nil, err
	}
	if s.ClientID == "" {
		s.ClientID = "go-" + rand.Text()
	}
	if s.MinBackoff <= 0 {
		s.MinBackoff = 500 * time.Millisecond
	}
	if s.MaxBackoff <= 0 {
		s.MaxBackoff = 30 * time.Second
	}
	s.MaxBackoff = max(s.MaxBackoff, s.MinBackoff)
	if s.KeepAlive <= 0 {
		s.KeepAlive = 30 * time.Second
	}
	if s.Buffer <= 0 {
		s.Buffer = 1024
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Outbox == nil {
		s.Outbox = noOutbox{}
	}
	if s.answer == 0 {
		s.answer = answerTimeout
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = s.TLS.Clone()
	s.http = &http.Client{Transport: transport, Timeout: s.answer}
	return s, nil
}

// urls finds out where MQTT and REST are.
func (s *settled) urls() error {
	u, err := parseURL("URL", s.URL)
	if err != nil {
		return err
	}
	rest := *u
	switch u.Scheme {
	case "http", "https":
		u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
		u.Path = strings.TrimSuffix(u.Path, "/") + "/mqtt"
	case "ws", "wss":
		rest.Scheme = "http" + strings.TrimPrefix(u.Scheme, "ws")
		rest.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/mqtt")
	case "mqtt", "mqtts":
		rest = url.URL{}
		if u.Port() == "" {
			u.Host += map[string]string{"mqtt": ":1883", "mqtts": ":8883"}[u.Scheme]
		}
	default:
		return option("URL", "begins with %q, and not with http, https, ws, wss, mqtt or mqtts", u.Scheme)
	}
	if s.RESTURL != "" {
		given, err := parseURL("RESTURL", s.RESTURL)
		if err != nil {
			return err
		}
		if given.Scheme != "http" && given.Scheme != "https" {
			return option("RESTURL", "begins with %q, and not with http or https", given.Scheme)
		}
		rest = *given
	}
	if rest.Host == "" && !s.SendOnly {
		return option("RESTURL", "is needed where URL is of MQTT over TCP")
	}
	s.mqtt = u
	s.rest = strings.TrimSuffix(rest.String(), "/")
	return nil
}

func parseURL(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return nil, option(field, "is not the URL of a server")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, option(field, "has a user, a query or a fragment; the token is given by Token")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	return u, nil
}
