package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// sender makes the requests.
type sender struct {
	client    *http.Client
	url       string
	secret    []byte
	userAgent string
	timeout   time.Duration
	now       func() time.Time
}

func newSender(cfg Config) *sender {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if std, ok := http.DefaultTransport.(*http.Transport); ok {
		t = std.Clone()
	}
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = cfg.Concurrency, cfg.Concurrency
	t.IdleConnTimeout = 30 * time.Second
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true
	return &sender{
		client: &http.Client{Transport: t,
			// Who answers is who was named: a redirect could lead anywhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		url: cfg.URL, secret: cfg.Secret, userAgent: cfg.UserAgent, timeout: cfg.Timeout, now: cfg.Now}
}

func (s *sender) close() { s.client.CloseIdleConnections() }

// failure says why an event was not taken.
type failure struct {
	reason string // for metrics and log
	status int    // 0: no answer
	how    how    // unreachable or refused
	after  time.Duration
}

func (f *failure) Error() string {
	if f.status == 0 {
		return f.reason
	}
	return "status " + strconv.Itoa(f.status)
}

// maxAnswer is how much of an answer is read, so that the connection serves
// again.
const maxAnswer = 16 << 10

// send makes one try. nil means that the event was taken. The error has
// nothing of the URL, which may hold a secret.
func (s *sender) send(ctx context.Context, ev event) *failure {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(ev.body))
	if err != nil {
		return &failure{reason: "connection", how: unreachable} // the URL was checked
	}
	now := s.now()
	req.Header["Content-Type"] = []string{"application/json"}
	req.Header["User-Agent"] = []string{s.userAgent}
	req.Header["Parley-Event"] = []string{ev.kind}
	req.Header["Parley-Delivery"] = []string{ev.id}
	req.Header["Parley-Signature"] = []string{Sign(s.secret, now, ev.body)}
	// It is not sent. It says that a connection which the endpoint closed while
	// it was idle is no failure: the request goes out on another.
	req.Header["Idempotency-Key"] = nil
	resp, err := s.client.Do(req)
	if err != nil {
		var timeout net.Error
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
			return &failure{reason: "timeout", how: unreachable}
		}
		return &failure{reason: "connection", how: unreachable}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	return judge(resp, now)
}

// judge reads the answer. Some say nothing about the event, but that the
// endpoint cannot take any now.
func judge(resp *http.Response, now time.Time) *failure {
	f := &failure{status: resp.StatusCode, how: refused}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code == http.StatusBadGateway,
		code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		f.reason, f.how = "busy", unreachable
	case code >= 500:
		f.reason = "error"
	case code >= 400:
		f.reason = "refused"
	default:
		f.reason = "redirect"
	}
	f.after = retryAfter(resp.Header.Get("Retry-After"), now)
	return f
}

// retryAfter reads what RFC 9110 clause 10.2.3 allows: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Sign makes the header Parley-Signature of a body: the time in seconds, and
// the HMAC-SHA256 of "<time>.<body>" in hexadecimal.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// CheckURL says what is wrong with the address of an endpoint. It repeats
// nothing of it.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("must be an http or https URL")
	}
	return nil
}
