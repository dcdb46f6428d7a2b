package broker

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gobwas/ws"

	"github.com/parley-mqtt/parley/broker/wsconn"
)

// ServeHTTP upgrades to MQTT over WebSocket (RFC 6455, subprotocol mqtt) and
// serves the connection on a goroutine of its own: nothing of the HTTP server
// stays behind with it. A browser of another origin is refused, so that no
// foreign page acts with what a user's browser holds.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !b.allowed(r) {
		http.Error(w, "this origin is not allowed", http.StatusForbidden)
		return
	}
	if !offersMQTT(r) { // [MQTT-6.0.0-3]
		http.Error(w, `the WebSocket subprotocol must be "mqtt"`, http.StatusBadRequest)
		return
	}
	up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "mqtt" }} // [MQTT-6.0.0-4]
	nc, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		return // Upgrade has answered
	}
	var src io.Reader = nc
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n) // buffered: it cannot fail
		src = io.MultiReader(bytes.NewReader(bytes.Clone(early)), nc)
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	b.start(wsconn.New(nc, src))
}

func offersMQTT(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(p) == "mqtt" {
				return true
			}
		}
	}
	return false
}

// allowed reports whether a request may come from where it says that it
// comes from. What is no browser sends no Origin.
func (b *Broker) allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	for _, o := range b.cfg.Origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}
