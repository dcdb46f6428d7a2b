package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/ingest"
)

// bridgeOptions are the settings of a bridge, beside those that it shares with
// the server. The tag setting makes them known to variables and files.
type bridgeOptions struct {
	Name string `setting:"" name:"name" placeholder:"NAME" default:"bridge" help:"Tells the bridges of one data folder apart. Default: ${default}."`

	Source             string        `setting:"" name:"source" placeholder:"URL" help:"The other broker: mqtt://HOST[:1883], or mqtts://HOST[:8883] with TLS. It must speak MQTT 5."`
	SourceClientID     string        `setting:"" name:"source-client-id" placeholder:"ID" help:"Client id there; it names the session that keeps messages while the bridge is away. Default: made once and kept."`
	SourceUser         string        `setting:"" name:"source-user" placeholder:"USER" help:"User name there."`
	SourcePassword     app.Secret    `setting:"" name:"source-password" placeholder:"PASSWORD" help:"Password there. As a flag everybody on the machine can see it: better a variable, or the file."`
	SourcePasswordFile string        `setting:"" name:"source-password-file" placeholder:"FILE" help:"File with the password, read at each connection."`
	SourceCA           string        `setting:"" name:"source-ca" placeholder:"FILE" help:"PEM file with the authorities that are trusted there. Default: the system's."`
	SourceCert         string        `setting:"" name:"source-cert" placeholder:"FILE" help:"PEM file with a client certificate."`
	SourceKey          string        `setting:"" name:"source-key" placeholder:"FILE" help:"PEM file with its key."`
	SourceExpiry       time.Duration `setting:"" name:"source-expiry" placeholder:"TIME" default:"168h" help:"How long the session is kept there while the bridge is away. Default: ${default}."`
	Window             uint16        `setting:"" name:"window" placeholder:"N" default:"256" help:"Messages that the source may send before they are acknowledged. Default: ${default}."`
	SourceMaxPacket    int           `setting:"" name:"source-max-packet" placeholder:"BYTES" default:"1048576" help:"Largest packet that the source may send; what is larger it discards. Default: ${default}."`
	QoS                byte          `setting:"" name:"qos" placeholder:"N" default:"1" help:"QoS of the subscriptions. Default: ${default}."`
	Retained           bool          `setting:"" name:"retained" help:"Read what stands retained too, when a filter is new."`

	Filter  []string `setting:"" name:"filter" placeholder:"FILTER" help:"What to read, as plant/+/temperature or $$share/GROUP/FILTER; may be repeated, or have commas between them."`
	To      string   `setting:"" name:"to" placeholder:"TOPIC" help:"Where it goes: chat/CONVERSATION/messages, or an ordinary topic. {2} is the second level of the source's topic, {2:} that and all behind it, {topic} all of it."`
	Route   []string `setting:"" name:"route" placeholder:"FILTER => TOPIC" help:"The same for one filter; may be repeated. The first that takes a topic counts."`
	Content string   `setting:"" name:"content" placeholder:"TEXT" default:"{payload}" help:"The text of a message: {payload}, {topic}, {2} and {2:} stand for what they say. Default: ${default}."`
	Binary  string   `setting:"" name:"binary" placeholder:"HOW" default:"refuse" help:"Payloads that are not text, for conversations: refuse, or base64. Default: ${default}."`
	IDFrom  string   `setting:"" name:"id-from" placeholder:"WHERE" help:"Where messages have an identity of their own within their topic: user-property:NAME or json:/POINTER."`

	Create  bool     `setting:"" name:"create" help:"Make conversations that are not there."`
	Members []string `setting:"" name:"members" placeholder:"USERS" help:"Their members, with commas between them, beside the bridge's own user."`

	OnRefusal       string `setting:"" name:"on-refusal" placeholder:"HOW" default:"dead-letter" help:"What to do with a message that can never be written: dead-letter, skip or stop. Default: ${default}."`
	DeadLetterFile  string `setting:"" name:"dead-letter-file" placeholder:"FILE" help:"Where those are kept. Default: bridge/NAME.dead.jsonl in the data folder."`
	DeadLetterBytes int64  `setting:"" name:"dead-letter-bytes" placeholder:"BYTES" default:"1073741824" help:"How large it may grow; then the source waits. Default: ${default}."`

	Target     string `setting:"" name:"target" placeholder:"URL" default:"mqtt://localhost:1883" help:"Parley's MQTT port. Default: ${default}."`
	TargetHTTP string `setting:"" name:"target-http" placeholder:"URL" default:"http://localhost:8080" help:"Parley's HTTP port, to make conversations. Default: ${default}."`
	TargetCA   string `setting:"" name:"target-ca" placeholder:"FILE" help:"PEM file with the authorities that are trusted there. Default: the system's."`
	TokenFile  string `setting:"" name:"token-file" placeholder:"FILE" help:"File with the token of the user who writes; it is read again before the token expires."`
	As         string `setting:"" name:"as" placeholder:"USER" help:"Make tokens for this user instead, with the configured or generated secret."`

	Listen       string        `setting:"" name:"listen" placeholder:"HOST:PORT" help:"Serves /metrics, /healthz and /readyz; empty turns it off."`
	DrainTimeout time.Duration `setting:"" name:"drain-timeout" placeholder:"TIME" default:"20s" help:"How long stopping may wait for what is under way. Default: ${default}."`
}

type bridgeCmd struct {
	configFlag
	bridgeOptions
	app.DataOptions
	app.TokenOptions
	app.LogOptions
}

// setting says which setting is wrong.
func setting(name string, err error) error {
	if err == nil {
		return nil
	}
	return &app.SettingError{Err: fmt.Errorf("%s: %w", name, err)}
}

// Run bridges until SIGTERM or SIGINT.
func (cmd *bridgeCmd) Run(c *call) error {
	cmd.LogTo = c.stderr
	registry := prometheus.NewRegistry()
	cfg, err := cmd.config(registry)
	if err != nil {
		return err
	}
	ctx, release := signal.NotifyContext(c, os.Interrupt, syscall.SIGTERM)
	defer release()
	context.AfterFunc(ctx, release) // the second signal does what signals do

	var health ingest.Health
	stop, err := cmd.serveMetrics(ctx, registry, &health, cfg.Logger)
	if err != nil {
		return setting("listen", err)
	}
	defer stop()
	return ingest.Run(ctx, cfg, &health)
}

// config checks all settings.
func (cmd *bridgeCmd) config(registry *prometheus.Registry) (ingest.Config, error) {
	if err := cmd.LogOptions.Validate(); err != nil {
		return ingest.Config{}, err
	}
	cfg := ingest.Config{User: cmd.SourceUser, Password: string(cmd.SourcePassword), PasswordFile: cmd.SourcePasswordFile,
		ClientID: cmd.SourceClientID, SessionExpiry: cmd.SourceExpiry, Window: cmd.Window, MaxPacket: cmd.SourceMaxPacket,
		QoS: cmd.QoS, Retained: cmd.Retained, OnRefusal: ingest.Policy(cmd.OnRefusal), DeadLetterBytes: cmd.DeadLetterBytes,
		ShutdownTimeout: cmd.DrainTimeout, Logger: cmd.Logger(), Registerer: registry}
	for _, part := range []func(*ingest.Config) error{
		cmd.checkNumbers, cmd.setSource, cmd.setRoutes, cmd.setMapping, cmd.setTarget, cmd.setToken, cmd.setFiles,
	} {
		if err := part(&cfg); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

func (cmd *bridgeCmd) checkNumbers(*ingest.Config) error {
	switch {
	case !chat.ValidID(cmd.Name):
		return setting("name", errors.New("is not of 1 to 64 letters, digits and _.@:-"))
	case cmd.Window == 0:
		return setting("window", errors.New("must be from 1 to 65535"))
	case cmd.SourceMaxPacket < 1024 || cmd.SourceMaxPacket > 256<<20:
		return setting("source-max-packet", errors.New("must be from 1024 to 268435456"))
	case cmd.QoS > 2:
		return setting("qos", fmt.Errorf("must be 0, 1 or 2, is %d", cmd.QoS))
	case cmd.SourceExpiry < time.Minute || cmd.SourceExpiry/time.Second >= 1<<32-1:
		return setting("source-expiry", fmt.Errorf("must be a minute or more, is %v", cmd.SourceExpiry))
	case cmd.DeadLetterBytes <= 0:
		return setting("dead-letter-bytes", fmt.Errorf("must be more than 0, is %d", cmd.DeadLetterBytes))
	case cmd.DrainTimeout < 0:
		return setting("drain-timeout", fmt.Errorf("must not be negative, is %v", cmd.DrainTimeout))
	}
	switch ingest.Policy(cmd.OnRefusal) {
	case ingest.Stop, ingest.Skip, ingest.DeadLetter:
		return nil
	}
	return setting("on-refusal", fmt.Errorf("%q is none of dead-letter, skip and stop", cmd.OnRefusal))
}

func (cmd *bridgeCmd) setSource(cfg *ingest.Config) (err error) {
	if cmd.Source == "" {
		return setting("source", errors.New("must be set, as in mqtts://broker.example"))
	}
	if cfg.Source, err = ingest.ParseBroker(cmd.Source); err != nil {
		return setting("source", err)
	}
	cfg.SourceTLS = ingest.TLSFiles{CA: cmd.SourceCA, Cert: cmd.SourceCert, Key: cmd.SourceKey}
	if err := cfg.SourceTLS.Check(cfg.Source); err != nil {
		name := "source-ca"
		if cmd.SourceCA == "" || cmd.SourceCert != "" && (&ingest.TLSFiles{CA: cmd.SourceCA}).Check(cfg.Source) == nil {
			name = "source-cert"
		}
		return setting(name, err)
	}
	if cmd.SourcePasswordFile == "" {
		return nil
	}
	if cmd.SourcePassword != "" {
		return setting("source-password-file", errors.New("source-password is set too"))
	}
	_, err = os.ReadFile(cmd.SourcePasswordFile)
	return setting("source-password-file", err)
}

func (cmd *bridgeCmd) setRoutes(cfg *ingest.Config) error {
	if len(cmd.Filter) > 0 && cmd.To == "" {
		return setting("to", errors.New("must be set, as filter is"))
	}
	if len(cmd.Filter) == 0 && cmd.To != "" {
		return setting("filter", errors.New("must be set, as to is"))
	}
	for _, text := range cmd.Route {
		route, err := ingest.ParseRoute(text)
		if err != nil {
			return setting("route", err)
		}
		cfg.Routes = append(cfg.Routes, route)
	}
	for _, filter := range cmd.Filter {
		route, err := ingest.NewRoute(filter, cmd.To)
		if err != nil {
			return setting("to", err)
		}
		cfg.Routes = append(cfg.Routes, route)
	}
	if len(cfg.Routes) == 0 {
		return setting("route", errors.New("must be set, or filter and to"))
	}
	return nil
}

func (cmd *bridgeCmd) setMapping(cfg *ingest.Config) (err error) {
	if cfg.Content, err = ingest.ParseTemplate(cmd.Content, true); err != nil {
		return setting("content", err)
	}
	switch cmd.Binary {
	case "base64":
		cfg.Base64 = true
	case "refuse":
	default:
		return setting("binary", fmt.Errorf("%q is neither refuse nor base64", cmd.Binary))
	}
	cfg.IDs, err = ingest.ParseIDRule(cmd.IDFrom)
	return setting("id-from", err)
}

func (cmd *bridgeCmd) setTarget(cfg *ingest.Config) (err error) {
	if cfg.Target, err = ingest.ParseBroker(cmd.Target); err != nil {
		return setting("target", err)
	}
	cfg.TargetTLS = ingest.TLSFiles{CA: cmd.TargetCA}
	if cmd.TargetCA != "" {
		if err := cfg.TargetTLS.Check(&url.URL{Scheme: "mqtts", Host: cfg.Target.Host}); err != nil {
			return setting("target-ca", err)
		}
	}
	for _, member := range cmd.Members {
		if !chat.ValidID(member) {
			return setting("members", fmt.Errorf("%q is not a user id", member))
		}
	}
	if !cmd.Create {
		if len(cmd.Members) > 0 {
			return setting("members", errors.New("are those of conversations that the bridge makes, and create is not set"))
		}
		return nil
	}
	if u, err := url.Parse(cmd.TargetHTTP); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return setting("target-http", errors.New("is not of the form http://HOST:PORT or https://HOST:PORT"))
	}
	cfg.Create, err = ingest.NewCreator(cmd.TargetHTTP, cmd.Members, cfg.TargetTLS)
	return setting("target-http", err)
}

func (cmd *bridgeCmd) setToken(cfg *ingest.Config) error {
	switch {
	case cmd.As == "" && cmd.TokenFile == "":
		return setting("token-file", errors.New("must be set, or as: Parley wants to know who writes"))
	case cmd.As != "" && cmd.TokenFile != "":
		return setting("token-file", errors.New("as is set too"))
	case cmd.TokenFile != "":
		cfg.Token = ingest.TokenFile(cmd.TokenFile)
	default:
		secret, err := cmd.Secret(cmd.DataOptions)
		if err != nil {
			return err
		}
		cfg.Token = minted{secret: secret, claims: acl.Claims{Subject: cmd.As, TTL: time.Hour,
			Pub: ingest.Grants(cfg.Routes), Issuer: cmd.JWTIssuer, Audience: cmd.JWTAudience}}
	}
	if _, err := cfg.Token.Current(); err != nil {
		name := "token-file"
		if cmd.As != "" {
			name = "as"
		}
		return setting(name, err)
	}
	return nil
}

// setFiles says where the bridge keeps what it must not forget.
func (cmd *bridgeCmd) setFiles(cfg *ingest.Config) error {
	dir := filepath.Join(cmd.DataDir, "bridge")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return setting("data-dir", err)
	}
	cfg.Journal = filepath.Join(dir, cmd.Name+".journal")
	if cfg.OnRefusal == ingest.DeadLetter {
		if cfg.DeadLetterFile = cmd.DeadLetterFile; cfg.DeadLetterFile == "" {
			cfg.DeadLetterFile = filepath.Join(dir, cmd.Name+".dead.jsonl")
		}
	}
	return nil
}

// minted makes tokens.
type minted struct {
	secret []byte
	claims acl.Claims
}

// Current makes one.
func (m minted) Current() (ingest.Token, error) {
	text, err := acl.Mint(m.secret, m.claims)
	if err != nil {
		return ingest.Token{}, err
	}
	return ingest.ReadToken(text)
}

// serveMetrics serves what operators ask for, until the answer is called.
func (cmd *bridgeCmd) serveMetrics(ctx context.Context, registry *prometheus.Registry, health *ingest.Health, log *slog.Logger) (stop func(), err error) {
	if cmd.Listen == "" {
		return func() {}, nil
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /readyz", health)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cmd.Listen)
	if err != nil {
		return nil, err
	}
	const patience = 10 * time.Second
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	}()
	log.Info("metrics", "at", "http://"+ln.Addr().String()+"/metrics")
	return func() { _ = server.Close(); <-ended }, nil
}
