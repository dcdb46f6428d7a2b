package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/app"
)

func TestWelcome(t *testing.T) {
	tests := []struct {
		name   string
		change func(*serveCmd)
		at     addresses
		want   string
	}{
		{"defaults", func(*serveCmd) {}, addresses{mqtt: "[::]:1883", http: "[::]:8080"}, `
  MQTT      [::]:1883
  HTTP      http://[::]:8080 (MQTT over WebSocket at /mqtt)
  Web app   not in this build; make build adds it, with Node.js 20 and npm
  Database  SQLite in parley-data/parley.db
  Data      ./parley-data

A first token:

  TOKEN=$(./bin/parley token --sub alice)

A first message:

  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"id": "c1", "members": ["bob"]}' http://localhost:8080/v1/conversations
  mosquitto_pub -h localhost -p 1883 -u alice -P "$TOKEN" -q 1 -t chat/c1/messages -m hello
`},
		{"sign-in by name", func(cmd *serveCmd) { cmd.Options.DevLogin = true }, addresses{http: "127.0.0.1:8080", app: true}, `
  HTTP      http://127.0.0.1:8080 (MQTT over WebSocket at /mqtt)
  Web app   http://127.0.0.1:8080/ (sign in by any name, on this machine)
  Database  SQLite in parley-data/parley.db
  Data      ./parley-data

A first token:

  TOKEN=$(./bin/parley token --sub alice)

A first message:

  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"id": "c1", "members": ["bob"]}' http://127.0.0.1:8080/v1/conversations
  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"content": "hello"}' http://127.0.0.1:8080/v1/conversations/c1/messages
`},
		{"much is set", func(cmd *serveCmd) {
			cmd.Config = "my settings.yaml"
			cmd.Options.DatabaseURL = "postgres://u:hush@db/chat"
			cmd.Options.DataDir = "/var/lib/parley"
			cmd.Options.JWTIssuer = "it's us"
		}, addresses{http: "10.0.0.1:80"}, `
  HTTP      http://10.0.0.1:80 (MQTT over WebSocket at /mqtt)
  Web app   not in this build; make build adds it, with Node.js 20 and npm
  Database  Postgres at db/chat
  Data      /var/lib/parley

A first token:

  TOKEN=$(./bin/parley token --sub alice --config 'my settings.yaml' --data-dir /var/lib/parley --jwt-issuer 'it'\''s us')

A first message:

  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"id": "c1", "members": ["bob"]}' http://10.0.0.1:80/v1/conversations
  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"content": "hello"}' http://10.0.0.1:80/v1/conversations/c1/messages
`},
		{"a secret of one's own", func(cmd *serveCmd) {
			cmd.Options.DatabaseURL = "postgres://u:hush@db/chat"
			cmd.Options.JWTSecret = "hush"
		}, addresses{mqtt: "0.0.0.0:1883"}, `
  MQTT      0.0.0.0:1883
  Database  Postgres at db/chat

A first token (with the same jwt-secret):

  TOKEN=$(./bin/parley token --sub alice)
`},
		{"TLS alone", func(cmd *serveCmd) {
			cmd.Options.TLSCert = "server.crt"
		}, addresses{mqtts: "[::]:8883", http: "[::]:8443"}, `
  MQTTS     [::]:8883
  HTTP      https://[::]:8443 (MQTT over WebSocket at /mqtt)
  Web app   not in this build; make build adds it, with Node.js 20 and npm
  Database  SQLite in parley-data/parley.db
  Data      ./parley-data

A first token:

  TOKEN=$(./bin/parley token --sub alice)

A first message:

  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"id": "c1", "members": ["bob"]}' https://localhost:8443/v1/conversations
  curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \
    -d '{"content": "hello"}' https://localhost:8443/v1/conversations/c1/messages
`},
		{"the web app", func(cmd *serveCmd) { cmd.Options.JWKSURL = "https://h/jwks" }, addresses{http: "[::]:8080", app: true}, `
  HTTP      http://[::]:8080 (MQTT over WebSocket at /mqtt)
  Web app   http://localhost:8080/ (sign in with a token)
  Database  SQLite in parley-data/parley.db
  Data      ./parley-data

Tokens are signed by the holder of the key in jwks-url.
`},
		{"keys of somebody else", func(cmd *serveCmd) { cmd.Options.JWKSURL = "https://u:hush@h/jwks" },
			addresses{mqtt: "127.0.0.1:1883", http: "127.0.0.1:8080"}, `
  MQTT      127.0.0.1:1883
  HTTP      http://127.0.0.1:8080 (MQTT over WebSocket at /mqtt)
  Web app   not in this build; make build adds it, with Node.js 20 and npm
  Database  SQLite in parley-data/parley.db
  Data      ./parley-data

Tokens are signed by the holder of the key in jwks-url.
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := &serveCmd{Options: app.DefaultOptions()}
			tt.change(cmd)
			var out bytes.Buffer
			err := cmd.welcome(&call{program: typed, stdout: &out}, tt.at)
			first, rest, _ := strings.Cut(out.String(), "\n")
			if err != nil || !strings.HasPrefix(first, "Parley ") || strings.TrimRight(rest, "\n") != strings.TrimRight(tt.want, "\n") {
				t.Errorf("%v, got\n%s\nwant\n%s", err, out.String(), tt.want)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "./bin/parley": "./bin/parley", "a b": "'a b'", "$x": "'$x'", "it's": `'it'\''s'`, "~": "'~'", "é": "'é'",
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"[::]:1883": "localhost:1883", "0.0.0.0:1": "localhost:1", "127.0.0.1:1": "127.0.0.1:1", "[fe80::1]:2": "[fe80::1]:2",
	} {
		if got := reachable(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
