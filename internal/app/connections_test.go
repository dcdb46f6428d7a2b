package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// What carries a connection is seen through the API.
func TestTransportsAreSeen(t *testing.T) {
	authority := certtest.New(t)
	trust := authority.Trust()
	secure := testOptions(t)
	secure.MQTTSAddr = "127.0.0.1:0"
	secure.TLSCert, secure.TLSKey = authority.WritePair(t.TempDir())
	for _, o := range []Options{testOptions(t), secure} {
		a := start(t, o)
		secret, err := o.Secret(o.DataOptions)
		if err != nil {
			t.Fatal(err)
		}
		admin, err := acl.Mint(secret, acl.Claims{Subject: "root", Scope: "admin", TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		options := mqttest.Options{User: "alice", Password: token(t, o), Clean: true}
		web, socket, scheme := "ws", &ws.Dialer{Protocols: []string{"mqtt"}}, "http"
		transports := map[string]net.Conn{"tcp": dial(t, a.MQTTAddr())}
		if a.MQTTSAddr() != "" {
			transports["tls"] = tls.Client(dial(t, a.MQTTSAddr()), trust)
			web, socket.TLSConfig, scheme = "wss", trust, "https"
		}
		for name, conn := range transports {
			options.ClientID = name
			if ack := mqttest.New(t, conn).Connect(options); ack.ReasonCode != 0 {
				t.Fatalf("over %s: CONNACK %#x", name, ack.ReasonCode)
			}
		}
		options.ClientID = web
		transports[web] = overWebSocket(t, socket, web+"://"+a.HTTPAddr()+"/mqtt", options)

		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust}}
		for name, conn := range transports {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+a.HTTPAddr()+
				"/v1/admin/connection?"+url.Values{"user": {"alice"}, "client": {name}}.Encode(), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+admin)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Transport, Address string }
			err = json.NewDecoder(resp.Body).Decode(&got)
			resp.Body.Close()
			if err != nil || got.Transport != name || got.Address != conn.LocalAddr().String() {
				t.Errorf("over %s from %s: status %d, saw %+v, %v", name, conn.LocalAddr(), resp.StatusCode, got, err)
			}
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// overWebSocket connects, and returns once the server has said yes.
func overWebSocket(t *testing.T, dialer *ws.Dialer, address string, o mqttest.Options) net.Conn {
	t.Helper()
	conn, early, _, err := dialer.Dial(context.WithoutCancel(t.Context()), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if early != nil {
		t.Fatal("the server spoke first")
	}
	if err := wsutil.WriteClientBinary(conn, mqttest.New(t, conn).ConnectPacket(o)); err != nil {
		t.Fatal(err)
	}
	ack, _, err := wsutil.ReadServerData(conn)
	if err != nil || len(ack) < 4 || ack[0] != 0x20 || ack[3] != 0 {
		t.Fatalf("CONNECT was answered with % x, %v", ack, err)
	}
	return conn
}
