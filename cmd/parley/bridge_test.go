package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bridgeOf parses a command line of parley bridge.
func bridgeOf(t *testing.T, env []string, args ...string) bridgeCmd {
	t.Helper()
	var c commands
	if _, err := newParser(&c, env).Parse(append([]string{"bridge"}, args...)); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return c.Bridge
}

func TestBridgeSettingsFromEverywhere(t *testing.T) {
	path := writeConfig(t, `
source: mqtts://broker.example
source-password: from the file
route:
  - plant/+/t => chat/plant-{2}/messages
  - 'a,b/# => devices/{topic}'
members: [alice, bob]
window: 64
log-format: json
`)
	cmd := bridgeOf(t, []string{"PARLEY_SOURCE_PASSWORD=from the environment", "PARLEY_FILTER=x/#,y/#", "PARLEY_MQTT_ADDR=:1"},
		"--config", path, "--window", "32", "--source-expiry", "1h")
	if cmd.Source != "mqtts://broker.example" || string(cmd.SourcePassword) != "from the environment" || cmd.Window != 32 ||
		cmd.SourceExpiry != time.Hour || cmd.LogFormat != "json" || cmd.Target != "mqtt://localhost:1883" ||
		!slices.Equal(cmd.Route, []string{"plant/+/t => chat/plant-{2}/messages", "a,b/# => devices/{topic}"}) ||
		!slices.Equal(cmd.Filter, []string{"x/#", "y/#"}) || !slices.Equal(cmd.Members, []string{"alice", "bob"}) {
		t.Errorf("the settings are %+v", cmd)
	}
}

// What is a setting of the bridge alone is known in the environment of all,
// and in no other file.
func TestBridgeSettingsAreItsOwn(t *testing.T) {
	if o := optionsOf(t, []string{"PARLEY_SOURCE=mqtt://x", "PARLEY_NAME=x"}); o.MQTTAddr != ":1883" {
		t.Errorf("the options are %+v", o)
	}
	for command, text := range map[string]string{"serve": "source: mqtt://x", "bridge": "mqtts-addr: ':1'\nno-such: x"} {
		code, _, stderr := parley(t, nil, command, "--config", writeConfig(t, text))
		if code != exitUsage || !strings.Contains(stderr, "is not a setting") {
			t.Errorf("%s: code %d, %s", command, code, stderr)
		}
	}
}

// Each bad setting stops the start with one line that names it.
func TestBridgeSettingsRefused(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"--source", "mqtt://127.0.0.1:1", "--filter", "a/#", "--to", "chat/c1/messages", "--as", "gateway", "--data-dir", dir}
	for _, test := range []struct {
		want string
		args []string
	}{
		{"source", []string{"--source", ""}},
		{"source", []string{"--source", "http://x"}},
		{"source", []string{"--source", "mqtt://user:secret@x"}},
		{"source-ca", []string{"--source-ca", "x.pem"}},
		{"source-ca", []string{"--source", "mqtts://x", "--source-ca", "/no/such"}},
		{"source-cert", []string{"--source", "mqtts://x", "--source-cert", password}},
		{"source-password-file", []string{"--source-password-file", "/no/such"}},
		{"source-password-file", []string{"--source-password-file", password, "--source-password", "x"}},
		{"source-expiry", []string{"--source-expiry", "1s"}},
		{"source-max-packet", []string{"--source-max-packet", "1"}},
		{"window", []string{"--window", "0"}},
		{"qos", []string{"--qos", "3"}},
		{"name", []string{"--name", "a/b"}},
		{"to", []string{"--to", ""}},
		{"to", []string{"--to", "chat/{4}/messages", "--filter", "a/b"}},
		{"route", []string{"--route", "a"}},
		{"content", []string{"--content", "{x}"}},
		{"binary", []string{"--binary", "hex"}},
		{"id-from", []string{"--id-from", "x"}},
		{"members", []string{"--members", "alice"}},
		{"members", []string{"--create", "--members", "a b"}},
		{"target", []string{"--target", "localhost"}},
		{"target-http", []string{"--create", "--target-http", "localhost:8080"}},
		{"target-ca", []string{"--target-ca", password}},
		{"token-file", []string{"--token-file", password}},
		{"token-file", []string{"--as", ""}},
		{"token-file", []string{"--as", "", "--token-file", password}},
		{"as", []string{"--as", "a b"}},
		{"on-refusal", []string{"--on-refusal", "drop"}},
		{"dead-letter-bytes", []string{"--dead-letter-bytes", "0"}},
		{"drain-timeout", []string{"--drain-timeout=-1s"}},
		{"listen", []string{"--listen", "nowhere:99999"}},
		{"log-level", []string{"--log-level", "loud"}},
	} {
		code, stdout, stderr := parley(t, nil, slices.Concat([]string{"bridge"}, good, test.args)...)
		if code != exitUsage || stdout != "" || len(lines(stderr)) != 1 || !strings.HasPrefix(stderr, "parley: "+test.want+": ") {
			t.Errorf("%v: code %d, want one line that names %s: %s", test.args, code, test.want, stderr)
		}
		if strings.Contains(stderr, "secret") && test.want == "source" {
			t.Errorf("%v: the password is in %s", test.args, stderr)
		}
	}
	code, _, stderr := parley(t, nil, "bridge", "--source", "mqtt://127.0.0.1:1", "--as", "gateway", "--data-dir", dir)
	if code != exitUsage || !strings.HasPrefix(stderr, "parley: route: ") {
		t.Errorf("without a route: code %d, %s", code, stderr)
	}
}
