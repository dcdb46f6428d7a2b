package clients_test

import (
	"net"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
)

// Over TLS, and over WebSocket with TLS, everything is as without.
func TestTLS(t *testing.T) {
	each(t, func(t *testing.T, srv *server, l, other library) {
		srv.secure()
		reader := connect(t, srv, l, session{ID: "reader", User: "alice", Secure: true})
		reader.mustSubscribe("dev/#", 2)
		writer := connect(t, srv, other, session{ID: "writer", User: "bob"})
		writer.mustPublish(message{Topic: "dev/x", Payload: "in", QoS: 2})
		reader.want(message{Topic: "dev/x", Payload: "in", QoS: 2})
		reader.mustPublish(message{Topic: "dev/x", Payload: "and out", QoS: 2})
		reader.want(message{Topic: "dev/x", Payload: "and out", QoS: 2})
		reader.mustDisconnect()
	})
}

func TestMosquittoTLS(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, srv *server, as func(string) *mosquitto) {
		srv.secure()
		host, port, err := net.SplitHostPort(srv.tlsAddr)
		if err != nil {
			t.Fatal(err)
		}
		// What comes later overrides what the helper says.
		secure := []string{"-h", host, "-p", port, "--cafile", certtest.Write(t, t.TempDir(), "ca.crt", srv.ca.PEM)}
		reader := as("alice").subscribe(append(secure, "-t", "dev/#", "-q", "1")...)
		as("bob").publish(append(secure, "--tls-alpn", "mqtt", "-t", "dev/x", "-m", "secret", "-q", "1")...)
		reader.want("dev/x", "secret", 1, 0)
	})
}
