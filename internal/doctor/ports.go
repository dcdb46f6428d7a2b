package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

func (d *doctor) mqtt(ctx context.Context)  { d.port(ctx, d.MQTTAddr, false) }
func (d *doctor) mqtts(ctx context.Context) { d.port(ctx, d.MQTTSAddr, true) }

// port looks at a port of MQTT: it is free for a server, or one is there that
// answers.
func (d *doctor) port(ctx context.Context, addr string, encrypted bool) {
	if !d.taken(ctx, addr) {
		return
	}
	err := d.handshake(ctx, addr, encrypted)
	switch {
	case d.wantsCertificate(err):
		d.ok("a server answers on %s, and wants a certificate", addr)
	case err != nil:
		d.fail("see what listens there (ss -ltnp), or choose another port", "%s is taken: %v", addr, err)
	default:
		d.ok("a server answers on %s", addr)
	}
}

// wantsCertificate says that a server ended a handshake because it asks for
// certificates of clients. There is none here to show.
func (c *Config) wantsCertificate(err error) bool {
	var op *net.OpError
	return c.ClientCertRequired && errors.As(err, &op) && op.Op == "remote error"
}

// handshake speaks MQTT to the server at addr.
func (c *Config) handshake(ctx context.Context, addr string, encrypted bool) error {
	nc, err := c.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }() // all was said
	if !encrypted {
		return shakeMQTT(nc)
	}
	t, err := secure(ctx, nc, "mqtt")
	if err != nil {
		return err
	}
	return shakeMQTT(t)
}

// taken says whether somebody listens on addr. Where nobody does, it tells
// whether a server could.
func (d *doctor) taken(ctx context.Context, addr string) bool {
	switch _, port, err := net.SplitHostPort(addr); {
	case addr == "":
		d.ok("off")
		return false
	case err != nil: // told with the settings
		return false
	case port == "0":
		d.ok("%s: the system picks a port", addr)
		return false
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", reachable(addr))
	if err == nil {
		_ = nc.Close() // it was only to see
		return true
	}
	var cfg net.ListenConfig
	ln, err := cfg.Listen(ctx, "tcp", addr)
	if err != nil {
		d.fail("choose another; ports below 1024 need CAP_NET_BIND_SERVICE", "%s cannot be listened on: %v", addr, err)
		return false
	}
	_ = ln.Close() // nobody could have connected
	d.ok("%s is free", addr)
	return false
}

// http looks at the port of HTTP, and asks a server that is there how it is.
func (d *doctor) http(ctx context.Context) {
	if !d.taken(ctx, d.HTTPAddr) {
		return
	}
	var api struct {
		Info struct{ Title, Version string }
	}
	status, body, err := d.get(ctx, "/v1/openapi.json")
	if d.wantsCertificate(err) {
		d.ok("a server answers on %s, and wants a certificate", d.HTTPAddr)
		return
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &api) != nil || api.Info.Title != "Parley" {
		d.fail("see what listens there (ss -ltnp), or choose another port", "%s is taken, and not by a Parley", d.HTTPAddr)
		return
	}
	d.ok("a Parley %s answers on %s", api.Info.Version, d.HTTPAddr)
	if status, _, err := d.get(ctx, "/readyz"); err != nil || status != http.StatusOK {
		d.fail("see the database above, and the log of the server", "the server is not ready: %s", outcome(status, err))
	} else {
		d.ok("it is ready")
	}
	if err := d.upgrade(ctx); err != nil {
		d.fail("see the log of the server", "MQTT over WebSocket does not work: %v", err)
	} else {
		d.ok("MQTT over WebSocket works")
	}
	d.shown(ctx)
}

func outcome(status int, err error) string {
	if err != nil {
		return err.Error()
	}
	return http.StatusText(status)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// get asks the server at HTTPAddr.
func (c *Config) get(ctx context.Context, path string) (status int, body []byte, err error) {
	encrypted := c.TLSCert != ""
	transport := &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, c.HTTPAddr) },
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, err := c.dial(ctx, c.HTTPAddr)
			if err != nil {
				return nil, err
			}
			return secure(ctx, nc, "http/1.1")
		}}
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+reachable(c.HTTPAddr)+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}

// upgrade opens a WebSocket.
func (c *Config) upgrade(ctx context.Context) error {
	nc, err := c.dial(ctx, c.HTTPAddr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }() // all was said
	if c.TLSCert != "" {
		if nc, err = secure(ctx, nc, "http/1.1"); err != nil {
			return err
		}
	}
	return shakeWebSocket(nc, reachable(c.HTTPAddr))
}

// shown compares the certificate that the server shows with the files.
func (d *doctor) shown(ctx context.Context) {
	pair, err := tls.LoadX509KeyPair(d.TLSCert, d.TLSKey)
	if err != nil {
		return // there is none, or it was told
	}
	nc, err := d.dial(ctx, d.HTTPAddr)
	if err != nil {
		return
	}
	defer func() { _ = nc.Close() }() // all was said
	t, err := secure(ctx, nc, "http/1.1")
	if err != nil {
		return
	}
	if !t.ConnectionState().PeerCertificates[0].Equal(pair.Leaf) {
		d.warn("look for the reason in the log of the server", "the server shows another certificate than that of tls-cert")
	}
}

// webhook looks whether the endpoint can be connected to. It is sent nothing.
func (d *doctor) webhook(ctx context.Context) {
	if d.WebhookURL == "" {
		return
	}
	u, err := url.Parse(d.WebhookURL)
	if err != nil { // told with the settings
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	const advice = "see that this machine reaches it; a proxy of the environment is not used for this look"
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil && u.Scheme == "https" {
		t := tls.Client(nc, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()})
		err = t.HandshakeContext(ctx)
	}
	if nc != nil {
		_ = nc.Close() // it was only to see
	}
	if err != nil {
		d.fail(advice, "webhook-url: %v", err)
		return
	}
	if u.Scheme == "http" && !loopback(addr) {
		d.warn("use https", "webhook-url: events go to %s without encryption", u.Hostname())
	}
	d.ok("%s can be connected to", addr)
}

// Health asks the server of these settings on this machine whether it may get
// work. It is for health checks: cheap, and bounded by ctx alone. One that wants
// a certificate of its clients is well if it says so.
func Health(ctx context.Context, cfg *Config) error {
	err := health(ctx, cfg)
	if cfg.wantsCertificate(err) {
		return nil
	}
	return err
}

func health(ctx context.Context, cfg *Config) error {
	if cfg.HTTPAddr != "" {
		status, body, err := cfg.get(ctx, "/readyz")
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("/readyz answers %d: %.100s", status, strings.TrimSpace(string(body)))
		}
		return nil
	}
	if cfg.MQTTAddr != "" {
		return cfg.handshake(ctx, cfg.MQTTAddr, false)
	}
	return cfg.handshake(ctx, cfg.MQTTSAddr, true)
}
