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
)

const testSecret = "the-secret-of-these-tests-0123456789"

func TestDefaults(t *testing.T) {
	o := DefaultOptions()
	want := Options{MQTTAddr: ":1883", HTTPAddr: ":8080", ShutdownTimeout: 20 * time.Second,
		DataOptions: DataOptions{DataDir: "./parley-data"},
		LogOptions:  LogOptions{LogLevel: "info", LogFormat: "text"}}
	if got := fmt.Sprintf("%+v", o); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got %s, want %+v", got, want)
	}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

func TestSettingNames(t *testing.T) {
	want := []string{"mqtt-addr", "http-addr", "ws-origins", "database-url", "data-dir", "jwt-secret",
		"jwt-public-key-file", "jwks-url", "jwt-issuer", "jwt-audience", "log-level", "log-format",
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
		{"no ports", func(o *Options) { o.MQTTAddr, o.HTTPAddr = "", "" }, "mqtt-addr: is empty and so is http-addr"},
		{"any port", func(o *Options) { o.MQTTAddr = "127.0.0.1:0" }, ""},
		{"IPv6", func(o *Options) { o.MQTTAddr = "[::1]:1883" }, ""},
		{"port alone", func(o *Options) { o.MQTTAddr = "1883" }, "mqtt-addr: \"1883\" is not host:port"},
		{"no port", func(o *Options) { o.HTTPAddr = "localhost:" }, "http-addr: \"localhost:\" has no port"},
		{"named port", func(o *Options) { o.HTTPAddr = ":http" }, "http-addr: \":http\" has no port"},
		{"large port", func(o *Options) { o.HTTPAddr = ":65536" }, "http-addr: \":65536\" has no port"},
		{"negative port", func(o *Options) { o.HTTPAddr = ":-1" }, "http-addr: \":-1\" has no port"},
		{"zeros", func(o *Options) { o.HTTPAddr = ":000" }, "http-addr: \":000\" has no port"},
		{"origins", func(o *Options) { o.WSOrigins = []string{"https://a.example", "http://b:8080", "*"} }, ""},
		{"origin with a path", func(o *Options) { o.WSOrigins = []string{"https://a.example/"} }, "ws-origins: \"https://a.example/\" is not"},
		{"origin without a scheme", func(o *Options) { o.WSOrigins = []string{"a.example"} }, "ws-origins: \"a.example\" is not"},
		{"empty origin", func(o *Options) { o.WSOrigins = []string{""} }, "ws-origins: \"\" is not"},
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
