// Package doctor looks at the settings of a server and at what they depend on,
// and says what is wrong and what to do. It changes nothing: not the data, not
// the database, not a server that runs. No finding holds a secret.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// Level is how bad a finding is.
type Level string

// The levels. A failure keeps a server from starting, or from keeping what it
// promises.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// Config is what is looked at: the settings of a server, "" for what is not
// set.
type Config struct {
	// Wrong are settings that cannot be used. What they would be needed for is
	// not looked at.
	Wrong []error

	MQTTAddr, MQTTSAddr, HTTPAddr string
	ProxyProtocolFrom             []string
	Origins                       []string
	TLSCert, TLSKey               string
	TLSClientCA                   string
	ClientCertRequired            bool
	DevLogin                      bool
	MaxConnections                int

	DatabaseURL  string
	Migrate      bool
	DatabaseFile string // of the embedded database
	DataDir      string
	UsesDataDir  bool

	JWTSecret        string
	UsesSecretFile   bool
	JWTPublicKeyFile string
	JWKSURL          string
	JWTIssuer        string
	JWTAudience      string

	// WebhookURL is looked at when it is given.
	WebhookURL string

	Timeout time.Duration // of one check
	Built   time.Time     // when the program was made, if that is known
}

// Run makes the checks, one after the other, and tells each finding when it
// has it. It answers whether there was no failure.
func Run(ctx context.Context, cfg *Config, tell func(Finding)) bool {
	d := &doctor{Config: cfg, healthy: true, tell: tell}
	for _, check := range []struct {
		name string
		run  func(context.Context)
	}{
		{"settings", d.settings},
		{"clock", d.clock},
		{"data folder", d.dataDir},
		{"tokens", d.tokens},
		{"certificate", d.certificate},
		{"database", d.database},
		{"connections", d.limits},
		{"mqtt-addr", d.mqtt},
		{"mqtts-addr", d.mqtts},
		{"http-addr", d.http},
		{"webhook", d.webhook},
	} {
		d.check = check.name
		within(ctx, d.Timeout, check.run)
	}
	return d.healthy
}

func within(ctx context.Context, timeout time.Duration, run func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	run(ctx)
}

// doctor makes the checks of one Run.
type doctor struct {
	*Config
	check   string // that runs
	healthy bool
	tell    func(Finding)
}

func (d *doctor) ok(format string, args ...any) {
	d.tell(Finding{Check: d.check, Level: OK, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(advice, format string, args ...any) {
	d.tell(Finding{Check: d.check, Level: Warn, Text: fmt.Sprintf(format, args...), Advice: advice})
}

func (d *doctor) fail(advice, format string, args ...any) {
	d.healthy = false
	d.tell(Finding{Check: d.check, Level: Fail, Text: fmt.Sprintf(format, args...), Advice: advice})
}

// settings tells the settings that cannot be used, and those that are rarely
// meant.
func (d *doctor) settings(context.Context) {
	for _, err := range d.Wrong {
		d.fail("parley serve --help lists all settings", "%v", err)
	}
	if len(d.Wrong) == 0 {
		d.ok("all can be used")
	}
	for _, origin := range d.Origins {
		if origin == "*" {
			d.warn("name the origins of your pages", "ws-origins is *: a page of any origin may use a token that it got hold of")
		}
	}
	if d.ClientCertRequired && d.MQTTAddr != "" {
		d.warn("set mqtt-addr empty", "tls-client-auth is required, but mqtt-addr takes clients without TLS")
	}
	if d.DevLogin {
		for _, addr := range []string{d.MQTTAddr, d.MQTTSAddr, d.HTTPAddr} {
			if addr != "" && !loopback(addr) {
				d.warn("turn it off; it is for development alone",
					"dev-login is on, and %s can be reached from other machines. A proxy on this machine would let everybody sign in as anybody", addr)
				break
			}
		}
	}
}

const (
	// wrongClock is a difference by which tokens are refused that hold.
	wrongClock = 5 * time.Second
	oddClock   = time.Second
)

func (d *doctor) clock(context.Context) {
	now := time.Now()
	if now.Before(d.Built) {
		d.fail("set the clock, and keep it in step (chrony, systemd-timesyncd)",
			"the clock says %s, which is before this program was made", now.UTC().Format(time.RFC3339))
		return
	}
	d.ok("%s", now.UTC().Format(time.RFC3339))
}

// skew tells about the clock of the database.
func (d *doctor) skew(ahead time.Duration) {
	const advice = "keep both clocks in step (chrony, systemd-timesyncd)"
	switch shown := ahead.Round(time.Millisecond); {
	case ahead.Abs() >= wrongClock:
		d.fail(advice, "the database's clock is %v ahead of this one", shown)
	case ahead.Abs() >= oddClock:
		d.warn(advice, "the database's clock is %v ahead of this one", shown)
	}
}
