package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
)

// withTLS gives the options a certificate of the authority and an MQTTS port.
func withTLS(t *testing.T, ca *certtest.Authority) Options {
	t.Helper()
	o := testOptions(t)
	o.JWTSecret = testSecret
	o.MQTTSAddr = "127.0.0.1:0"
	o.TLSCert, o.TLSKey = ca.WritePair(t.TempDir())
	return o
}

func tokenOf(t *testing.T, user string) string {
	t.Helper()
	token, err := acl.Mint([]byte(testSecret), acl.Claims{Subject: user, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// talk connects a real client and has it subscribe, send and get one message.
func talk(t *testing.T, broker string, cfg *tls.Config) error {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(broker).SetTLSConfig(cfg).SetClientID("a").
		SetUsername("alice").SetPassword(tokenOf(t, "alice")).SetAutoReconnect(false).SetConnectRetry(false).
		SetConnectTimeout(20 * time.Second))
	if token := c.Connect(); token.Wait() && token.Error() != nil {
		return token.Error()
	}
	defer c.Disconnect(0)
	got := make(chan string, 1)
	if token := c.Subscribe("chat/c1/messages", 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }); token.Wait() && token.Error() != nil {
		return token.Error()
	}
	if token := c.Publish("chat/c1/messages", 1, false, "hello over "+broker[:3]); token.Wait() && token.Error() != nil {
		return token.Error()
	}
	select {
	case m := <-got:
		if !strings.Contains(m, "hello over "+broker[:3]) {
			t.Errorf("%s: got %s", broker, m)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s: the message does not come", broker)
	}
	return nil
}

// reply is an answer of HTTP.
type reply struct {
	status, major int
	header        http.Header
	body          string
}

// call makes a request of alice.
func call(t *testing.T, client *http.Client, method, url, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokenOf(t, "alice"))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.ProtoMajor, resp.Header, string(text)}
}

func httpsClient(cfg *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.Clone(), DisableKeepAlives: true, ForceAttemptHTTP2: true}}
}

func TestTLSOnAllPorts(t *testing.T) {
	ca := certtest.New(t)
	a := start(t, withTLS(t, ca))
	https := httpsClient(ca.Trust())
	if r := call(t, https, "POST", "https://"+a.HTTPAddr()+"/v1/conversations", `{"id": "c1", "members": ["bob"]}`); r.status != http.StatusCreated || r.major != 1 {
		t.Fatalf("got %+v", r)
	}
	cfg := ca.Trust()
	cfg.NextProtos = []string{"h2", "http/1.1"} // as a browser does
	for broker, cfg := range map[string]*tls.Config{
		"tls://" + a.MQTTSAddr():           ca.Trust(),
		"wss://" + a.HTTPAddr() + "/mqtt":  ca.Trust(),
		"wss://" + a.HTTPAddr() + "/mqtt?": cfg,
		"tcp://" + a.MQTTAddr():            nil,
	} {
		if err := talk(t, broker, cfg); err != nil {
			t.Errorf("%s: %v", broker, err)
		}
	}
	if err := talk(t, "tls://"+a.MQTTSAddr(), certtest.New(t).Trust()); err == nil {
		t.Error("a client takes the certificate of another authority")
	}
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if r := call(t, plain, "GET", "http://"+a.HTTPAddr()+"/healthz", ""); r.status != http.StatusBadRequest {
		t.Errorf("HTTP without TLS: %+v", r)
	}
}

func TestClientCertificateIsRequired(t *testing.T) {
	ca := certtest.New(t)
	o := withTLS(t, ca)
	o.TLSClientCA = certtest.Write(t, t.TempDir(), "clients.crt", ca.PEM)
	o.TLSClientAuth = "required"
	var log bytes.Buffer
	o.LogTo = &log
	a := start(t, o)
	own := ca.Trust(ca.Certificate("device"))
	if r := call(t, httpsClient(own), "POST", "https://"+a.HTTPAddr()+"/v1/conversations", `{"id": "c1"}`); r.status != http.StatusCreated {
		t.Fatalf("got %+v", r)
	}
	for _, broker := range []string{"tls://" + a.MQTTSAddr(), "wss://" + a.HTTPAddr() + "/mqtt"} {
		if err := talk(t, broker, own); err != nil { // the token says who it is, not the certificate
			t.Errorf("%s: %v", broker, err)
		}
		if err := talk(t, broker, ca.Trust()); err == nil {
			t.Errorf("%s: a client without a certificate is taken", broker)
		}
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "tls-client-auth is required, but mqtt-addr takes clients without TLS") {
		t.Error("nothing warns of the port without TLS")
	}
}

func TestBadCertificatesStopTheStart(t *testing.T) {
	ca := certtest.New(t)
	good := withTLS(t, ca)
	junk := certtest.Write(t, t.TempDir(), "junk", []byte("junk"))
	for want, change := range map[string]func(*Options){
		"tls-cert: open ":          func(o *Options) { o.TLSCert += ".none" },
		"tls-cert: " + junk:        func(o *Options) { o.TLSCert = junk },
		"tls-key: open ":           func(o *Options) { o.TLSKey += ".none" },
		"tls-key: " + good.TLSCert: func(o *Options) { o.TLSKey = junk },
		"tls-client-ca: ":          func(o *Options) { o.TLSClientCA = junk },
	} {
		o := good
		change(&o)
		_, err := New(t.Context(), o)
		var setting *SettingError
		if err == nil || !errors.As(err, &setting) || !strings.HasPrefix(setting.Error(), want) || strings.Contains(setting.Error(), "\n") {
			t.Errorf("got %v, want one line with %s", err, want)
		}
	}
	if _, err := os.Stat(good.DataDir); err == nil {
		t.Error("a start that failed has touched the data")
	}
}

// sendHeader connects to an address and begins with a header of the PROXY
// protocol.
func sendHeader(t *testing.T, addr, header string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte(header)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestProxyProtocolOnAllPorts(t *testing.T) {
	ca := certtest.New(t)
	o := withTLS(t, ca)
	o.ProxyProtocolFrom = []string{"127.0.0.0/8"}
	var log bytes.Buffer
	o.LogTo, o.LogFormat = &log, "json"
	a := start(t, o)
	const header = "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"
	// The dialer of each client sends the header first.
	dial := func(addr string) net.Conn { return sendHeader(t, addr, header) }
	https := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialTLSContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		return tls.Client(dial(addr), ca.Trust()), nil
	}}}
	if r := call(t, https, "POST", "https://"+a.HTTPAddr()+"/v1/conversations", `{"id": "c1"}`); r.status != http.StatusCreated {
		t.Fatalf("got %+v", r)
	}
	token := tokenOf(t, "alice")
	for name, conn := range map[string]net.Conn{
		"tcp": dial(a.MQTTAddr()), "tls": tls.Client(dial(a.MQTTSAddr()), ca.Trust()),
	} {
		if ack := connectOn(t, conn, token); ack[3] != 0 {
			t.Errorf("%s: CONNACK % x", name, ack)
		}
		conn.Close()
	}
	if _, err := sendHeader(t, a.HTTPAddr(), "GET / HTTP/1.1\r\n\r\n").Read(make([]byte, 1)); err == nil {
		t.Error("a connection without a header is served")
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["msg"] == "connected" && m["address"] == "[2001:db8::7]:56324" {
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("%d connections have the address of the header:\n%s", seen, log.String())
	}
}

// What comes over REST and over MQTT counts to one limit.
func TestPublishRateOverREST(t *testing.T) {
	o := testOptions(t)
	o.JWTSecret = testSecret
	o.PublishRate = 2
	a := start(t, o)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + a.HTTPAddr() + "/v1/conversations"
	call(t, client, "POST", url, `{"id": "c1"}`)
	if err := talk(t, "tcp://"+a.MQTTAddr(), nil); err != nil {
		t.Fatal(err)
	}
	codes := map[int]int{}
	for range 10 {
		r := call(t, client, "POST", url+"/c1/messages", `{"content": "x"}`)
		codes[r.status]++
		if r.status == http.StatusTooManyRequests &&
			(r.header.Get("Retry-After") != "1" || !strings.Contains(r.body, `"rate_limited"`)) {
			t.Errorf("got %+v", r)
		}
	}
	if codes[http.StatusCreated] == 0 || codes[http.StatusTooManyRequests] < 5 || len(codes) != 2 {
		t.Errorf("the answers are %v", codes)
	}
	if _, text := get(t, a, "/metrics"); !strings.Contains(text, `parley_mqtt_limit_refusals_total{limit="publish-rate"}`) {
		t.Error("no metric counts them")
	}
}
