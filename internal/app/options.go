package app

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/parley-mqtt/parley/bridge"
)

// Options are the settings of a server. Each stands here once: its tags hold
// the name that flag, variable and file share, its default and its help.
type Options struct {
	MQTTAddr  string   `name:"mqtt-addr" placeholder:"HOST:PORT" default:":1883" help:"MQTT over TCP; empty turns it off. Default: ${default}."`
	MQTTSAddr string   `name:"mqtts-addr" placeholder:"HOST:PORT" help:"MQTT over TLS, with tls-cert and tls-key, as on :8883; empty turns it off."`
	HTTPAddr  string   `name:"http-addr" placeholder:"HOST:PORT" default:":8080" help:"The web app, REST, MQTT over WebSocket at /mqtt, health and metrics; empty turns it off. Default: ${default}."`
	WSOrigins []string `name:"ws-origins" placeholder:"URL" help:"Browser origins that may open a WebSocket and use REST, with commas between them; * is any. Default: the same origin."`

	TLSOptions
	ProxyProtocolFrom []string `name:"proxy-protocol-from" placeholder:"NETWORK" help:"Addresses or networks of proxies, with commas between them, that begin each connection with a header of the PROXY protocol, version 1 or 2. From elsewhere none is taken."`
	LimitOptions
	KeptOptions
	GroupOptions
	RetentionOptions
	PresenceOptions
	WebhookOptions

	DatabaseOptions
	DataOptions
	TokenOptions
	DevLogin bool `name:"dev-login" help:"Let whoever is on this machine sign in by name in the web app, with tokens of the generated secret. Not behind a proxy."`
	LogOptions

	Migrate         bool          `name:"migrate" help:"Bring the schema of a Postgres database up to date before serving. The embedded database always is."`
	ShutdownTimeout time.Duration `name:"shutdown-timeout" placeholder:"TIME" default:"20s" help:"How long stopping may take. Default: ${default}."`
}

// GroupOptions bound what conversations and users may grow to. The fields are
// those of bridge.Limits.
type GroupOptions struct {
	Members       int `name:"max-members" placeholder:"N" default:"10000" help:"Members of one conversation. Default: ${default}."`
	Conversations int `name:"max-conversations-per-user" placeholder:"N" default:"10000" help:"Conversations that one user is a member of. Default: ${default}."`
	Blocks        int `name:"max-blocks-per-user" placeholder:"N" default:"10000" help:"Users that one user may block. Default: ${default}."`
}

// Validate checks that each bound is one.
func (o *GroupOptions) Validate() error {
	for _, b := range []struct {
		name string
		n    int
	}{
		{"max-members", o.Members}, {"max-conversations-per-user", o.Conversations}, {"max-blocks-per-user", o.Blocks},
	} {
		if b.n <= 0 {
			return wrong(b.name, "must be more than 0, is %d", b.n)
		}
	}
	return nil
}

// KeptOptions bound what is kept of ordinary topics. The fields are those of
// router.Kept.
type KeptOptions struct {
	QueueMessages    int   `name:"session-queue-messages" placeholder:"N" default:"10000" help:"Messages of ordinary topics that wait for one session; above it the oldest are dropped. Default: ${default}."`
	QueueBytes       int64 `name:"session-queue-bytes" placeholder:"BYTES" default:"16777216" help:"Their bytes. Default: ${default}."`
	RetainedMessages int64 `name:"max-retained-messages" placeholder:"N" default:"1000000" help:"Retained messages in all. Default: ${default}."`
	RetainedBytes    int64 `name:"max-retained-bytes" placeholder:"BYTES" default:"1073741824" help:"Their bytes. Default: ${default}."`
}

// Validate checks that each bound is one.
func (o *KeptOptions) Validate() error {
	for _, b := range []struct {
		name string
		n    int64
	}{
		{"session-queue-messages", int64(o.QueueMessages)}, {"session-queue-bytes", o.QueueBytes},
		{"max-retained-messages", o.RetainedMessages}, {"max-retained-bytes", o.RetainedBytes},
	} {
		if b.n <= 0 {
			return wrong(b.name, "must be more than 0, is %d", b.n)
		}
	}
	return nil
}

// RetentionOptions say how long entries are kept.
type RetentionOptions struct {
	Age                time.Duration `name:"retention-age" placeholder:"TIME" default:"0s" help:"How old the entries of conversations may grow, as in 8760h; 0 is as old as they like. Default: ${default}."`
	Count              uint64        `name:"retention-count" placeholder:"N" default:"0" help:"How many of the newest entries of a conversation are kept; 0 is all. Default: ${default}."`
	NotificationsAge   time.Duration `name:"retention-notifications-age" placeholder:"TIME" default:"2160h" help:"How old notifications may grow; 0 is as old as they like. Default: ${default}."`
	NotificationsCount uint64        `name:"retention-notifications-count" placeholder:"N" default:"10000" help:"How many of a user's newest notifications are kept; 0 is all. Default: ${default}."`
}

// Validate checks that what is bounded is bounded to something.
func (o *RetentionOptions) Validate() error {
	for _, age := range []struct {
		name string
		d    time.Duration
	}{{"retention-age", o.Age}, {"retention-notifications-age", o.NotificationsAge}} {
		if age.d != 0 && age.d < time.Minute {
			return wrong(age.name, "must be 0 or at least 1m, is %v", age.d)
		}
	}
	return nil
}

func (o *RetentionOptions) policy() bridge.RetentionPolicy {
	return bridge.RetentionPolicy{Conversations: bridge.Retention{Age: o.Age, Count: o.Count},
		Notifications: bridge.Retention{Age: o.NotificationsAge, Count: o.NotificationsCount}}
}

// DatabaseOptions say which database keeps the log.
type DatabaseOptions struct {
	DatabaseURL Secret `name:"database-url" placeholder:"postgres://…" help:"Postgres database; empty is the embedded one in the data folder."`
}

// DataOptions say where files are kept.
type DataOptions struct {
	DataDir string `name:"data-dir" placeholder:"DIR" default:"./parley-data" help:"Folder of the embedded database and the generated secret. Default: ${default}."`
}

// TokenOptions say which tokens hold. One key at most is set.
type TokenOptions struct {
	JWTSecret        Secret `name:"jwt-secret" placeholder:"SECRET" help:"HS256 secret, at least 32 bytes. Default: generated and kept in the data folder."`
	JWTPublicKeyFile string `name:"jwt-public-key-file" placeholder:"FILE" help:"PEM file with an RS256, ES256 or EdDSA key instead."`
	JWKSURL          Secret `name:"jwks-url" placeholder:"URL" help:"Where keys are fetched as a JWK Set instead."`
	JWTIssuer        string `name:"jwt-issuer" placeholder:"TEXT" help:"Required iss of a token; empty is no check."`
	JWTAudience      string `name:"jwt-audience" placeholder:"TEXT" help:"Required aud of a token; empty is no check."`

	MaxTokenLife time.Duration `name:"max-token-life" placeholder:"TIME" help:"Longest time from iat to exp of a token, which must have an iat then; revocations are kept for so long. 0 is no limit, and they are kept for ever. Default: 0."`
}

// LogOptions say how much is logged, and how.
type LogOptions struct {
	LogLevel  string `name:"log-level" placeholder:"LEVEL" default:"info" help:"debug, info, warn or error. Default: ${default}."`
	LogFormat string `name:"log-format" placeholder:"FORMAT" default:"text" help:"text, or json for machines. Default: ${default}."`
	// LogTo is where the log goes. nil is nowhere.
	LogTo io.Writer `kong:"-"`
}

// DefaultOptions are the settings of a server that is told nothing.
func DefaultOptions() Options {
	var o Options
	if err := kong.ApplyDefaults(&o); err != nil {
		panic(err) // the tags above are wrong
	}
	return o
}

// Secret is a setting whose value is never printed. It shows as stars,
// however it is formatted or logged; string(s) gives the value.
type Secret string

const stars = "****"

// String hides the value. An empty one stays empty, so that one can see
// whether it is set.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return stars
}

// Format hides the value from every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue hides the value from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue lists the settings for the log, secrets as stars.
func (o Options) LogValue() slog.Value {
	var attrs []slog.Attr
	value := reflect.ValueOf(o)
	for _, f := range settingFields() {
		attrs = append(attrs, slog.Any(f.Tag.Get("name"), value.FieldByIndex(f.Index).Interface()))
	}
	return slog.GroupValue(attrs...)
}

// Settings are the names of all settings, in the order of Options.
func Settings() []string {
	var names []string
	for _, f := range settingFields() {
		names = append(names, f.Tag.Get("name"))
	}
	return names
}

func settingFields() []reflect.StructField {
	return slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[Options]()),
		func(f reflect.StructField) bool { return f.Tag.Get("name") == "" })
}
