package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/internal/app"
)

const (
	testSecret  = "the-secret-of-these-tests-0123456789"
	otherSecret = "another-secret-of-the-tests-98765432"
	thirdSecret = "yet-another-secret-of-them-0000000000"
)

// writeConfig writes a file of settings and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// optionsOf parses a command line of parley serve.
func optionsOf(t *testing.T, env []string, args ...string) app.Options {
	t.Helper()
	var c commands
	if _, err := newParser(&c, env).Parse(append([]string{"serve"}, args...)); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return c.Serve.Options
}

// Every setting is a flag, a variable and a key, and they count in this order.
func TestPrecedence(t *testing.T) {
	type sample struct {
		flag, env, file string
		want            [3]any
	}
	samples := map[string]sample{
		"mqtt-addr":           {":1", ":2", ":3", [3]any{":1", ":2", ":3"}},
		"mqtts-addr":          {":1", ":2", ":3", [3]any{":1", ":2", ":3"}},
		"tls-cert":            {"a", "b", "c", [3]any{"a", "b", "c"}},
		"tls-key":             {"a", "b", "c", [3]any{"a", "b", "c"}},
		"tls-client-ca":       {"a", "b", "c", [3]any{"a", "b", "c"}},
		"tls-client-auth":     {"required", "optional", "required", [3]any{"required", "optional", "required"}},
		"proxy-protocol-from": {"10.0.0.0/8,::1", "::1", "['10.0.0.1']", [3]any{[]string{"10.0.0.0/8", "::1"}, []string{"::1"}, []string{"10.0.0.1"}}},
		"connect-timeout":     {"1s", "2s", "3s", [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
		"max-topic-length":    {"1", "2", "3", [3]any{1, 2, 3}},
		"max-topic-levels":    {"1", "2", "3", [3]any{1, 2, 3}},
		"change-rate":         {"1", "2", "3", [3]any{1, 2, 3}},
		"http-addr":           {":1", ":2", ":3", [3]any{":1", ":2", ":3"}},
		"ws-origins":          {"http://a,http://b", "*", "['http://c', 'http://d']", [3]any{[]string{"http://a", "http://b"}, []string{"*"}, []string{"http://c", "http://d"}}},
		"database-url":        {"postgres://a", "postgres://b", "postgres://c", [3]any{app.Secret("postgres://a"), app.Secret("postgres://b"), app.Secret("postgres://c")}},
		"data-dir":            {"a", "b", "c", [3]any{"a", "b", "c"}},
		"jwt-secret":          {testSecret, otherSecret, thirdSecret, [3]any{app.Secret(testSecret), app.Secret(otherSecret), app.Secret(thirdSecret)}},
		"jwt-public-key-file": {"a", "b", "c", [3]any{"a", "b", "c"}},
		"jwks-url":            {"http://a", "http://b", "http://c", [3]any{app.Secret("http://a"), app.Secret("http://b"), app.Secret("http://c")}},
		"jwt-issuer":          {"a", "b", "c", [3]any{"a", "b", "c"}},
		"jwt-audience":        {"a", "b", "c", [3]any{"a", "b", "c"}},
		"max-token-life":      {"1s", "2s", "3s", [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
		"log-level":           {"debug", "warn", "error", [3]any{"debug", "warn", "error"}},
		"log-format":          {"json", "text", "json", [3]any{"json", "text", "json"}},
		"dev-login":           {"true", "false", "yes", [3]any{true, false, true}},
		"migrate":             {"true", "false", "yes", [3]any{true, false, true}},
		"presence-grace":      {"1s", "2s", "3s", [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
		"webhook-url":         {"http://a", "http://b", "http://c", [3]any{app.Secret("http://a"), app.Secret("http://b"), app.Secret("http://c")}},
		"webhook-secret":      {testSecret, otherSecret, thirdSecret, [3]any{app.Secret(testSecret), app.Secret(otherSecret), app.Secret(thirdSecret)}},
		"webhook-secret-file": {"a", "b", "c", [3]any{"a", "b", "c"}},
		"webhook-events":      {"member.left,member.joined", "member.left", "['member.joined']", [3]any{[]string{"member.left", "member.joined"}, []string{"member.left"}, []string{"member.joined"}}},
		"webhook-concurrency": {"1", "2", "3", [3]any{1, 2, 3}},
		"webhook-give-up":     {"1s", "2s", "3s", [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
		"shutdown-timeout":    {"1s", "2s", "3s", [3]any{time.Second, 2 * time.Second, 3 * time.Second}},
	}
	for _, name := range limit.Names {
		if _, ok := samples[name]; !ok {
			samples[name] = sample{"1111", "2222", "3333", [3]any{1111, 2222, 3333}}
		}
	}
	for _, name := range []string{"max-inflight", "max-reconnects", "session-queue-messages", "max-members", "max-conversations-per-user", "max-blocks-per-user"} {
		samples[name] = samples[limit.MaxConnections]
	}
	for _, name := range []string{"session-queue-bytes", "max-retained-messages", "max-retained-bytes"} {
		samples[name] = sample{"1111", "2222", "3333", [3]any{int64(1111), int64(2222), int64(3333)}}
	}
	for _, name := range []string{"retention-count", "retention-notifications-count"} {
		samples[name] = sample{"1111", "2222", "0", [3]any{uint64(1111), uint64(2222), uint64(0)}}
	}
	for _, name := range []string{"retention-age", "retention-notifications-age"} {
		samples[name] = sample{"24h", "90m", "0s", [3]any{24 * time.Hour, 90 * time.Minute, time.Duration(0)}}
	}
	together := map[string][]string{ // what makes sense with others alone
		"mqtts-addr":      {"--tls-cert=x", "--tls-key=x"},
		"tls-cert":        {"--tls-key=x"},
		"tls-key":         {"--tls-cert=x"},
		"webhook-url":     {"--webhook-secret=" + testSecret},
		"tls-client-ca":   {"--tls-cert=x", "--tls-key=x"},
		"tls-client-auth": {"--tls-cert=x", "--tls-key=x", "--tls-client-ca=x"},
	}
	for _, name := range app.Settings() {
		t.Run(name, func(t *testing.T) {
			with := func(args ...string) []string { return append(args, together[name]...) }
			s, ok := samples[name]
			if !ok {
				t.Fatal("add a sample")
			}
			flag := "--" + name + "=" + s.flag
			env := []string{"HOME=/", "PARLEY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "=" + s.env}
			config := "--config=" + writeConfig(t, name+": "+s.file+"\n")
			for _, tt := range []struct {
				by   string
				got  app.Options
				want any
			}{
				{"flag", optionsOf(t, env, with(config, flag)...), s.want[0]},
				{"flag before --config", optionsOf(t, env, with(flag, config)...), s.want[0]},
				{"environment", optionsOf(t, env, with(config)...), s.want[1]},
				{"file", optionsOf(t, nil, with(config)...), s.want[2]},
				{"default", optionsOf(t, nil), valueOf(t, app.DefaultOptions(), name)},
			} {
				// With Sprintf secrets would all be the same.
				if got := valueOf(t, tt.got, name); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s: got %v, want %v", tt.by, got, tt.want)
				}
			}
		})
	}
}

func valueOf(t *testing.T, o app.Options, name string) any {
	t.Helper()
	v := reflect.ValueOf(o)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Tag.Get("name") == name {
			return v.FieldByIndex(f.Index).Interface()
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

func TestConfigFile(t *testing.T) {
	t.Run("by variable", func(t *testing.T) {
		env := []string{"PARLEY_CONFIG=" + writeConfig(t, "data-dir: a")}
		if got := optionsOf(t, env).DataDir; got != "a" {
			t.Errorf("got %q", got)
		}
		if got := optionsOf(t, env, "--config", writeConfig(t, "data-dir: b")).DataDir; got != "b" {
			t.Errorf("the flag does not come before the variable: got %q", got)
		}
	})
	t.Run("empty", func(t *testing.T) {
		for _, text := range []string{"", "# nothing\n", "---\n", "{}"} {
			if got := optionsOf(t, nil, "--config", writeConfig(t, text)).DataDir; got != "./parley-data" {
				t.Errorf("%q: got %q", text, got)
			}
		}
	})
	t.Run("kept as written", func(t *testing.T) {
		digits := strings.Repeat("0123456789", 4)
		o := optionsOf(t, nil, "--config", writeConfig(t, "jwt-secret: "+digits+"\nshutdown-timeout: 90s\nmigrate: true"))
		if string(o.JWTSecret) != digits || o.ShutdownTimeout != 90*time.Second || !o.Migrate {
			t.Errorf("got %s, %v, %v", string(o.JWTSecret), o.ShutdownTimeout, o.Migrate)
		}
	})
}

// What is set counts even when it is empty.
func TestEmptyTurnsOff(t *testing.T) {
	config := writeConfig(t, "mqtt-addr: ''\nws-origins: ['http://a']\n")
	for _, tt := range []struct {
		by   string
		got  app.Options
		want string
	}{
		{"flag", optionsOf(t, nil, "--mqtt-addr="), ""},
		{"flag and word", optionsOf(t, nil, "--mqtt-addr", ""), ""},
		{"environment", optionsOf(t, []string{"PARLEY_MQTT_ADDR="}), ""},
		{"file", optionsOf(t, nil, "--config", config), ""},
		{"key without a value", optionsOf(t, nil, "--config", writeConfig(t, "mqtt-addr:\n")), ""},
		{"environment before file", optionsOf(t, []string{"PARLEY_MQTT_ADDR=:1"}, "--config", config), ":1"},
	} {
		if tt.got.MQTTAddr != tt.want {
			t.Errorf("%s: got %q", tt.by, tt.got.MQTTAddr)
		}
	}
	if got := optionsOf(t, []string{"PARLEY_WS_ORIGINS="}, "--config", config).WSOrigins; len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// A setting that is wrong or unknown is one line that names it, and code 2.
func TestBadSettings(t *testing.T) {
	dir := t.TempDir()
	config := func(text string) string { return "--config=" + writeConfig(t, text) }
	tests := []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"unknown flag", nil, []string{"--mqtt-port=1883"}, "unknown flag --mqtt-port"},
		{"unknown variable", []string{"PARLEY_NATS_URL=nats://u:" + testSecret + "@h"}, nil, "PARLEY_NATS_URL: is not a setting"},
		{"empty unknown variable", []string{"PARLEY_TLS_CERTS="}, nil, "PARLEY_TLS_CERTS: is not a setting"},
		{"unknown key", nil, []string{config("publish-speed: 5")}, "publish-speed: is not a setting (in "},
		{"nested key", nil, []string{config("mqtt:\n  addr: :1")}, "config: "},
		{"config in the file", nil, []string{config("config: x.yaml")}, "config: is not a setting (in "},
		{"key twice", nil, []string{config("data-dir: a\ndata-dir: b")}, "config: "},
		{"secret that is a map", nil, []string{config("jwt-secret: {a: " + testSecret + "}")}, "config: "},
		{"no YAML", nil, []string{config("jwt-secret: \"" + testSecret)}, "config: "},
		{"a list", nil, []string{config("- " + testSecret)}, "config: "},
		{"no file", nil, []string{"--config=" + filepath.Join(dir, "none")}, "config: open "},
		{"value of a flag", nil, []string{"--log-level=loud"}, "log-level: \"loud\" is not"},
		{"value of a variable", []string{"PARLEY_LOG_FORMAT=xml"}, nil, "log-format: \"xml\" is not"},
		{"value of a key", nil, []string{config("http-addr: 8080")}, "http-addr: \"8080\" is not host:port"},
		{"time of a flag", nil, []string{"--shutdown-timeout=soon"}, "--shutdown-timeout: "},
		{"time of a variable", []string{"PARLEY_SHUTDOWN_TIMEOUT=soon"}, nil, "--shutdown-timeout: "},
		{"truth of a key", nil, []string{config("migrate: perhaps")}, "--migrate: "},
		{"two keys", []string{"PARLEY_JWT_SECRET=" + testSecret}, []string{"--jwks-url=http://u:" + otherSecret + "@h"},
			"jwt-secret: is set together with jwks-url"},
		{"short secret", []string{"PARLEY_JWT_SECRET=short"}, nil, "jwt-secret: must be at least 32 bytes"},
		{"secret without a value", nil, []string{"--jwt-secret"}, "--jwt-secret: has no value"},
		{"database of another kind", []string{"PARLEY_DATABASE_URL=mysql://u:" + testSecret + "@h"}, nil, "database-url: must begin with"},
		{"URL in the wrong place", nil, []string{"postgres://u:" + testSecret + "@h/d?password=" + otherSecret}, "unexpected argument postgres://u:****@h/d"},
		{"limit of a flag", nil, []string{"--publish-rate=-1"}, "publish-rate: must be from 0 to "},
		{"missing certificate", nil, []string{"--tls-cert=" + filepath.Join(dir, "none"), "--tls-key=" + filepath.Join(dir, "none")},
			"tls-cert: open "},
		{"missing key file", nil, []string{"--jwt-public-key-file=" + filepath.Join(dir, "none")}, "jwt-public-key-file: open "},
		{"ports off", nil, []string{"--mqtt-addr=", "--http-addr="}, "mqtt-addr: is empty and so are mqtts-addr and http-addr"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"serve", "--data-dir", filepath.Join(dir, "data")}, tt.args...)
			code, stdout, stderr := parley(t, tt.env, args...)
			if code != exitUsage || stdout != "" {
				t.Errorf("code %d, stdout %q", code, stdout)
			}
			if !strings.HasPrefix(stderr, "parley: "+tt.want) || len(lines(stderr)) != 1 {
				t.Errorf("got %q, want one line with %q", stderr, tt.want)
			}
			if strings.Contains(stderr, testSecret) || strings.Contains(stderr, otherSecret) {
				t.Errorf("a secret is in %q", stderr)
			}
		})
	}
}

// A secret may begin with a hyphen.
func TestSecretWithHyphen(t *testing.T) {
	if got := optionsOf(t, nil, "--jwt-secret", "-"+testSecret).JWTSecret; string(got) != "-"+testSecret {
		t.Errorf("got %q", string(got))
	}
}

// A service named parley must not keep its own pods from starting.
func TestVariablesOfKubernetes(t *testing.T) {
	set := []string{
		"PARLEY_SERVICE_HOST=10.0.0.1", "PARLEY_SERVICE_PORT=1883", "PARLEY_SERVICE_PORT_MQTT=1883",
		"PARLEY_PORT=tcp://10.0.0.1:1883", "PARLEY_PORT_1883_TCP=tcp://10.0.0.1:1883", "PARLEY_PORT_1883_TCP_PROTO=tcp",
		"PARLEY_PORT_1883_TCP_PORT=1883", "PARLEY_PORT_1883_TCP_ADDR=10.0.0.1", "PARLEY_MQTT_SERVICE_HOST=10.0.0.1",
	}
	optionsOf(t, append(set, "KUBERNETES_SERVICE_HOST=10.0.0.9"))
	for _, one := range set {
		if code, _, stderr := parley(t, []string{one}, "serve"); code != exitUsage || !strings.Contains(stderr, "is not a setting") {
			t.Errorf("%s outside of Kubernetes: %d %s", one, code, stderr)
		}
	}
	typo := []string{"KUBERNETES_SERVICE_HOST=10.0.0.9", "PARLEY_MQTT_PORT_NUMBER=1"}
	if code, _, _ := parley(t, typo, "serve"); code != exitUsage {
		t.Errorf("code %d", code)
	}
}

// All subcommands read the same settings, and each takes what it needs.
func TestSettingsOfOtherCommands(t *testing.T) {
	config := writeConfig(t, fmt.Sprintf("jwt-secret: %s\nlog-level: debug\nmigrate: true\n", testSecret))
	code, stdout, stderr := parley(t, []string{"PARLEY_HTTP_ADDR=:1"}, "token", "--sub", "alice", "--config", config)
	if code != exitOK {
		t.Fatalf("code %d: %s", code, stderr)
	}
	v, err := acl.New(t.Context(), acl.Config{Secret: []byte(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Verify(strings.TrimSpace(stdout)); err != nil {
		t.Error(err)
	}
	for _, command := range [][]string{{"token", "--sub", "alice"}, {"migrate"}} {
		if code, _, stderr := parley(t, []string{"PARLEY_TYPO=1"}, command...); code != exitUsage || !strings.HasPrefix(stderr, "parley: PARLEY_TYPO: ") {
			t.Errorf("%v: %d %s", command, code, stderr)
		}
	}
}
