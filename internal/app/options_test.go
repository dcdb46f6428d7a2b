package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/broker/limit"
)

const testSecret = "the-secret-of-these-tests-0123456789"

func TestDefaults(t *testing.T) {
	o := DefaultOptions()
	bounds := limit.Bounds{}.WithDefaults() // what a broker does that is told nothing
	bounds.MaxReconnects = 5
	want := Options{MQTTAddr: ":1883", HTTPAddr: ":8080", ShutdownTimeout: 20 * time.Second,
		TLSOptions: TLSOptions{TLSClientAuth: "optional"}, LimitOptions: LimitOptions(bounds),
		KeptOptions:      KeptOptions{QueueMessages: 10_000, QueueBytes: 16 << 20, RetainedMessages: 1_000_000, RetainedBytes: 1 << 30},
		GroupOptions:     GroupOptions{Members: 10_000, Conversations: 10_000, Blocks: 10_000},
		RetentionOptions: RetentionOptions{NotificationsAge: 90 * 24 * time.Hour, NotificationsCount: 10_000},
		PresenceOptions:  PresenceOptions{PresenceGrace: 2 * time.Second},
		WebhookOptions:   WebhookOptions{WebhookConcurrency: 8, WebhookGiveUp: 24 * time.Hour},
		DataOptions:      DataOptions{DataDir: "./parley-data"},
		LogOptions:       LogOptions{LogLevel: "info", LogFormat: "text"}}
	if got := fmt.Sprintf("%+v", o); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got %s, want %+v", got, want)
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSettingNames(t *testing.T) {
	want := []string{"mqtt-addr", "mqtts-addr", "http-addr", "ws-origins", "tls-cert", "tls-key", "tls-client-ca",
		"tls-client-auth", "proxy-protocol-from", "connect-timeout", "max-connections", "max-connect-packet",
		"max-packet", "max-subscriptions", "receive-maximum", "max-inflight", "max-topic-length", "max-topic-levels", "change-rate",
		"max-connections-per-address", "max-connections-per-user", "connect-rate-per-address", "max-reconnects",
		"publish-rate", "publish-bytes", "publish-rate-per-connection", "publish-bytes-per-connection",
		"session-queue-messages", "session-queue-bytes", "max-retained-messages", "max-retained-bytes",
		"max-members", "max-conversations-per-user", "max-blocks-per-user",
		"retention-age", "retention-count", "retention-notifications-age", "retention-notifications-count",
		"presence-grace", "webhook-url", "webhook-secret", "webhook-secret-file", "webhook-events", "webhook-concurrency", "webhook-give-up", "database-url", "data-dir", "jwt-secret",
		"jwt-public-key-file", "jwks-url", "jwt-issuer", "jwt-audience", "max-token-life", "dev-login", "log-level", "log-format",
		"migrate", "shutdown-timeout"}
	if got := Settings(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSecretsShowAsStars(t *testing.T) {
	o := DefaultOptions()
	o.JWTSecret, o.DatabaseURL = testSecret, "postgres://u:"+testSecret+"@h/db"
	o.JWKSURL = "https://h/?key=" + testSecret
	var text, jsonText bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("x", "settings", o, "secret", o.JWTSecret)
	slog.New(slog.NewJSONHandler(&jsonText, nil)).Info("x", "settings", o, "secret", o.JWTSecret)
	marshaled, err := json.Marshal(o.TokenOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		text.String(), jsonText.String(), string(marshaled), fmt.Sprint(o),
		fmt.Sprintf("%v %+v %#v %s %q %x %d", o, o, o.JWTSecret, o.JWTSecret, o.JWTSecret, o.JWTSecret, o.JWTSecret),
	} {
		if strings.Contains(shown, testSecret) || strings.Contains(shown, fmt.Sprintf("%x", testSecret)) {
			t.Errorf("the secret is in %s", shown)
		}
		if !strings.Contains(shown, stars) {
			t.Errorf("there are no stars in %s", shown)
		}
	}
	if got := Secret("").String(); got != "" {
		t.Errorf("an unset secret shows as %q", got)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string // "" means it is valid
	}{
		{"defaults", func(*Options) {}, ""},
		{"no mqtt", func(o *Options) { o.MQTTAddr = "" }, ""},
		{"no http", func(o *Options) { o.HTTPAddr = "" }, ""},
		{"no ports", func(o *Options) { o.MQTTAddr, o.HTTPAddr = "", "" }, "mqtt-addr: is empty and so are mqtts-addr and http-addr"},
		{"any port", func(o *Options) { o.MQTTAddr = "127.0.0.1:0" }, ""},
		{"IPv6", func(o *Options) { o.MQTTAddr = "[::1]:1883" }, ""},
		{"port alone", func(o *Options) { o.MQTTAddr = "1883" }, "mqtt-addr: \"1883\" is not host:port"},
		{"no port", func(o *Options) { o.HTTPAddr = "localhost:" }, "http-addr: \"localhost:\" has no port"},
		{"named port", func(o *Options) { o.HTTPAddr = ":http" }, "http-addr: \":http\" has no port"},
		{"large port", func(o *Options) { o.HTTPAddr = ":65536" }, "http-addr: \":65536\" has no port"},
		{"negative port", func(o *Options) { o.HTTPAddr = ":-1" }, "http-addr: \":-1\" has no port"},
		{"zeros", func(o *Options) { o.HTTPAddr = ":000" }, "http-addr: \":000\" has no port"},
		{"dev-login", func(o *Options) { o.DevLogin = true }, ""},
		{"dev-login with a secret", func(o *Options) { o.DevLogin, o.JWTSecret = true, testSecret }, "dev-login: is on, but so is jwt-secret"},
		{"dev-login with a key", func(o *Options) { o.DevLogin, o.JWTPublicKeyFile = true, "key.pem" }, "dev-login: is on, but so is jwt-public-key-file"},
		{"dev-login with keys", func(o *Options) { o.DevLogin, o.JWKSURL = true, "https://h/" }, "dev-login: is on, but so is jwks-url"},
		{"dev-login behind a proxy", func(o *Options) { o.DevLogin, o.ProxyProtocolFrom = true, []string{"10.0.0.1"} }, "dev-login: is on, but so is proxy-protocol-from"},
		{"origins", func(o *Options) { o.WSOrigins = []string{"https://a.example", "http://b:8080", "*"} }, ""},
		{"origin with a path", func(o *Options) { o.WSOrigins = []string{"https://a.example/"} }, "ws-origins: \"https://a.example/\" is not"},
		{"origin without a scheme", func(o *Options) { o.WSOrigins = []string{"a.example"} }, "ws-origins: \"a.example\" is not"},
		{"empty origin", func(o *Options) { o.WSOrigins = []string{""} }, "ws-origins: \"\" is not"},
		{"mqtts", func(o *Options) { o.MQTTSAddr, o.TLSCert, o.TLSKey = ":8883", "c", "k" }, ""},
		{"mqtts alone", func(o *Options) { o.MQTTAddr, o.HTTPAddr, o.MQTTSAddr, o.TLSCert, o.TLSKey = "", "", ":8883", "c", "k" }, ""},
		{"mqtts without a certificate", func(o *Options) { o.MQTTSAddr = ":8883" }, "mqtts-addr: is set, but tls-cert is not"},
		{"bad mqtts", func(o *Options) { o.MQTTSAddr, o.TLSCert, o.TLSKey = "8883", "c", "k" }, "mqtts-addr: \"8883\" is not host:port"},
		{"https", func(o *Options) { o.TLSCert, o.TLSKey = "c", "k" }, ""},
		{"certificate without a key", func(o *Options) { o.TLSCert = "c" }, "tls-cert: is set, but tls-key is not"},
		{"key without a certificate", func(o *Options) { o.TLSKey = "k" }, "tls-key: is set, but tls-cert is not"},
		{"certificate for nothing", func(o *Options) { o.HTTPAddr, o.TLSCert, o.TLSKey = "", "c", "k" },
			"tls-cert: is set, but neither mqtts-addr nor http-addr is"},
		{"client authority", func(o *Options) {
			o.TLSCert, o.TLSKey, o.TLSClientCA, o.TLSClientAuth = "c", "k", "a", "required"
		}, ""},
		{"client authority without a certificate", func(o *Options) { o.TLSClientCA = "a" }, "tls-client-ca: is set, but tls-cert is not"},
		{"client auth without an authority", func(o *Options) { o.TLSClientAuth = "required" },
			"tls-client-auth: is required, but tls-client-ca is not set"},
		{"client auth", func(o *Options) { o.TLSClientAuth = "maybe" }, "tls-client-auth: \"maybe\" is not optional or required"},
		{"proxies", func(o *Options) { o.ProxyProtocolFrom = []string{"10.0.0.0/8", "::1"} }, ""},
		{"bad proxy", func(o *Options) { o.ProxyProtocolFrom = []string{"10.0.0.0/8", "lb"} }, "proxy-protocol-from: \"lb\" is neither"},
		{"network with host bits", func(o *Options) { o.ProxyProtocolFrom = []string{"10.0.0.1/8"} },
			"proxy-protocol-from: 10.0.0.1/8 has bits behind its mask"},
		{"no time to connect", func(o *Options) { o.ConnectTimeout = 0 }, "connect-timeout: must be more than 0, is 0s"},
		{"no connections", func(o *Options) { o.MaxConnections = 0 }, "max-connections: must be from 1 to 2147483647, is 0"},
		{"small packets", func(o *Options) { o.MaxPacket = 100 }, "max-packet: must be from 1024 to 268435460, is 100"},
		{"small CONNECT", func(o *Options) { o.MaxConnectPacket = 100 }, "max-connect-packet: must be from 1024"},
		{"no subscriptions", func(o *Options) { o.MaxSubscriptions = 0 }, "max-subscriptions: must be from 1"},
		{"receive maximum", func(o *Options) { o.ReceiveMaximum = 65536 }, "receive-maximum: must be from 1 to 65535, is 65536"},
		{"inflight", func(o *Options) { o.MaxInflight = 0 }, "max-inflight: must be from 1 to 32767, is 0"},
		{"long topics", func(o *Options) { o.MaxTopicLength = 1025 }, "max-topic-length: must be from 1 to 1024, is 1025"},
		{"deep topics", func(o *Options) { o.MaxTopicLevels = 33 }, "max-topic-levels: must be from 1 to 32, is 33"},
		{"limits", func(o *Options) {
			o.MaxConnectionsPerAddress, o.MaxConnectionsPerUser, o.ConnectRatePerAddress, o.MaxReconnects = 1, 1, 1, 0
			o.PublishRate, o.PublishBytes, o.PublishRatePerConnection, o.PublishBytesPerConnection = 1, 1, 1, 1
		}, ""},
		{"negative per address", func(o *Options) { o.MaxConnectionsPerAddress = -1 }, "max-connections-per-address: must be from 0"},
		{"negative per user", func(o *Options) { o.MaxConnectionsPerUser = -1 }, "max-connections-per-user: must be from 0"},
		{"negative connect rate", func(o *Options) { o.ConnectRatePerAddress = -1 }, "connect-rate-per-address: must be from 0"},
		{"negative reconnects", func(o *Options) { o.MaxReconnects = -1 }, "max-reconnects: must be from 0"},
		{"negative rate", func(o *Options) { o.PublishRate = -1 }, "publish-rate: must be from 0"},
		{"negative bytes", func(o *Options) { o.PublishBytes = -1 }, "publish-bytes: must be from 0"},
		{"negative own rate", func(o *Options) { o.PublishRatePerConnection = -1 }, "publish-rate-per-connection: must be from 0"},
		{"negative own bytes", func(o *Options) { o.PublishBytesPerConnection = -1 }, "publish-bytes-per-connection: must be from 0"},
		{"webhooks", func(o *Options) {
			o.WebhookURL, o.WebhookSecret, o.WebhookEvents = "https://u:pass@h/x?y", testSecret, []string{"member.left", "message.created"}
		}, ""},
		{"webhooks with a file", func(o *Options) { o.WebhookURL, o.WebhookSecretFile = "http://h", "f" }, ""},
		{"bad webhook", func(o *Options) { o.WebhookURL, o.WebhookSecret = "h/pass", testSecret }, "webhook-url: must be an http or https URL"},
		{"webhook without a secret", func(o *Options) { o.WebhookURL = "http://h" },
			"webhook-secret: is empty and so is webhook-secret-file; webhook-url needs one of them"},
		{"two secrets of webhooks", func(o *Options) { o.WebhookSecret, o.WebhookSecretFile = testSecret, "f" },
			"webhook-secret: is set together with webhook-secret-file"},
		{"short secret of webhooks", func(o *Options) { o.WebhookSecret = "pass" }, "webhook-secret: must be at least 32 bytes, has 4"},
		{"bad event", func(o *Options) { o.WebhookEvents = []string{"message.created", "message"} }, "webhook-events: \"message\" is not one of"},
		{"no webhooks at a time", func(o *Options) { o.WebhookConcurrency = 0 }, "webhook-concurrency: must be from 1 to 1000, is 0"},
		{"no time for webhooks", func(o *Options) { o.WebhookGiveUp = 0 }, "webhook-give-up: must be more than 0, is 0s"},
		{"postgres", func(o *Options) { o.DatabaseURL = "postgres://u:p@h:5432/d" }, ""},
		{"postgresql", func(o *Options) { o.DatabaseURL = "postgresql:///d?host=/run/pg" }, ""},
		{"mysql", func(o *Options) { o.DatabaseURL = "mysql://u:pass@h/d" }, "database-url: must begin with postgres://"},
		{"key=value", func(o *Options) { o.DatabaseURL = "host=h password=pass" }, "database-url: must begin with postgres://"},
		{"slash in a password", func(o *Options) { o.DatabaseURL = "postgres://u:pass/word@h/d" }, "database-url: is not a URL"},
		{"no folder", func(o *Options) { o.DataDir = "" }, "data-dir: must not be empty"},
		{"secret", func(o *Options) { o.JWTSecret = testSecret }, ""},
		{"short secret", func(o *Options) { o.JWTSecret = "pass" }, "jwt-secret: must be at least 32 bytes, has 4"},
		{"jwks", func(o *Options) { o.JWKSURL = "https://issuer.example/jwks" }, ""},
		{"jwks file", func(o *Options) { o.JWKSURL = "file:///jwks?pass" }, "jwks-url: must be an http or https URL"},
		{"two keys", func(o *Options) { o.JWTSecret, o.JWKSURL = testSecret, "https://h" },
			"jwt-secret: is set together with jwks-url;"},
		{"three keys", func(o *Options) { o.JWTSecret, o.JWKSURL, o.JWTPublicKeyFile = testSecret, "https://h", "k.pem" },
			"jwt-secret: is set together with jwt-public-key-file and jwks-url;"},
		{"life", func(o *Options) { o.MaxTokenLife = time.Hour }, ""},
		{"negative life", func(o *Options) { o.MaxTokenLife = -1 }, "max-token-life: must not be less than 0, is -1ns"},
		{"level", func(o *Options) { o.LogLevel = "trace" }, "log-level: \"trace\" is not debug, info, warn or error"},
		{"format", func(o *Options) { o.LogFormat = "xml" }, "log-format: \"xml\" is not text or json"},
		{"no time", func(o *Options) { o.ShutdownTimeout = 0 }, "shutdown-timeout: must be more than 0, is 0s"},
		{"less than none", func(o *Options) { o.ShutdownTimeout = -1 }, "shutdown-timeout: must be more than 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := DefaultOptions()
			tt.change(&o)
			err := o.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var setting *SettingError
			if !errors.As(err, &setting) {
				t.Fatalf("got %v, want a SettingError", err)
			}
			text := err.Error()
			if !strings.HasPrefix(text, tt.want) || strings.Contains(text, "\n") {
				t.Errorf("got %q, want one line with %q", text, tt.want)
			}
			for _, secret := range []string{"pass", testSecret} {
				if strings.Contains(strings.ReplaceAll(text, "password", ""), secret) {
					t.Errorf("a secret is in %q", text)
				}
			}
		})
	}
}

func TestDatabase(t *testing.T) {
	tests := []struct{ url, want string }{
		{"", "SQLite in data/parley.db"},
		{"postgres://u:pw@h:5433/chat?sslmode=disable&password=pw", "Postgres at h:5433/chat"},
		{"postgres://u:pw@h/chat", "Postgres at h/chat"},
		{"postgres:///chat?host=/run/postgres", "Postgres at /run/postgres/chat"},
		{"postgres://", "Postgres at localhost:5432"},
	}
	for _, tt := range tests {
		o := DefaultOptions()
		o.DataDir, o.DatabaseURL = "./data", Secret(tt.url)
		if got := o.Database(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.url, got, tt.want)
		}
	}
}
