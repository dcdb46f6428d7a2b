package wsconn

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gobwas/ws"
)

// ErrRefused is what Accept returns for a request that it has answered with a
// refusal.
var ErrRefused = errors.New("the WebSocket was refused")

// Accept upgrades a request to MQTT over WebSocket (RFC 6455, subprotocol
// mqtt). Nothing of the HTTP server stays behind with the connection. A
// browser of another origin than the server's own and those given ("*" is any)
// is refused, so that no foreign page acts with what a user's browser holds.
func Accept(w http.ResponseWriter, r *http.Request, origins []string) (*Conn, error) {
	if !allowed(r, origins) {
		http.Error(w, "this origin is not allowed", http.StatusForbidden)
		return nil, ErrRefused
	}
	if !offersMQTT(r) { // [MQTT-6.0.0-3]
		http.Error(w, `the WebSocket subprotocol must be "mqtt"`, http.StatusBadRequest)
		return nil, ErrRefused
	}
	up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "mqtt" }} // [MQTT-6.0.0-4]
	nc, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		return nil, err // Upgrade has answered
	}
	var src io.Reader = nc
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n) // buffered: it cannot fail
		src = io.MultiReader(bytes.NewReader(bytes.Clone(early)), nc)
	}
	return New(nc, src), nil
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
func allowed(r *http.Request, origins []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	for _, o := range origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}
