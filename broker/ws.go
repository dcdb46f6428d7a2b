package broker

import (
	"net/http"

	"github.com/parley-mqtt/parley/broker/transport"
	"github.com/parley-mqtt/parley/broker/wsconn"
)

// ServeHTTP takes a request to speak MQTT over WebSocket and serves the
// connection on a goroutine of its own.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	nc, err := wsconn.Accept(w, r, b.cfg.Origins)
	if err != nil {
		return // it is answered
	}
	transport.SetWriteBuffer(nc.Conn, sendBuffer)
	carrier := "ws"
	if r.TLS != nil {
		carrier = "wss"
	}
	b.start(nc, carrier)
}
