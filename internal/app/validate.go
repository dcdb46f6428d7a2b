package app

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/transport"
)

// SettingError is an error about the value of a setting. Its text is one line
// that begins with the name of the setting, and never holds the value of a
// Secret.
type SettingError struct{ Err error }

func (e *SettingError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *SettingError) Unwrap() error { return e.Err }

func wrong(name, format string, args ...any) error {
	return &SettingError{fmt.Errorf(name+": "+format, args...)}
}

// Validate checks what can be checked without opening anything. Its error is
// a *SettingError: the first setting that is wrong.
func (o *Options) Validate() error {
	for _, check := range o.checks() {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// Problems are the errors of Validate, of each group of settings the first.
func (o *Options) Problems() (wrong []error) {
	for _, check := range o.checks() {
		if err := check(); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

func (o *Options) checks() []func() error {
	return []func() error{o.validatePorts, o.LimitOptions.Validate, o.KeptOptions.Validate, o.WebhookOptions.Validate,
		o.RetentionOptions.Validate, o.PresenceOptions.Validate, o.GroupOptions.Validate, o.DatabaseOptions.Validate,
		o.DataOptions.Validate, o.TokenOptions.Validate, o.validateDevLogin, o.LogOptions.Validate, o.validateStop}
}

func (o *Options) validateStop() error {
	if o.ShutdownTimeout <= 0 {
		return wrong("shutdown-timeout", "must be more than 0, is %v", o.ShutdownTimeout)
	}
	return nil
}

// validatePorts checks where the server is to be reached, and how.
func (o *Options) validatePorts() error {
	if o.MQTTAddr == "" && o.MQTTSAddr == "" && o.HTTPAddr == "" {
		return wrong("mqtt-addr", "is empty and so are mqtts-addr and http-addr; a server needs one of them")
	}
	for _, a := range []struct{ name, addr string }{
		{"mqtt-addr", o.MQTTAddr}, {"mqtts-addr", o.MQTTSAddr}, {"http-addr", o.HTTPAddr},
	} {
		if err := checkAddr(a.name, a.addr); err != nil {
			return err
		}
	}
	for _, origin := range o.WSOrigins {
		if err := checkOrigin(origin); err != nil {
			return err
		}
	}
	if err := o.TLSOptions.Validate(); err != nil {
		return err
	}
	switch {
	case o.MQTTSAddr != "" && o.TLSCert == "":
		return wrong("mqtts-addr", "is set, but tls-cert is not")
	case o.TLSCert != "" && o.MQTTSAddr == "" && o.HTTPAddr == "":
		return wrong("tls-cert", "is set, but neither mqtts-addr nor http-addr is")
	}
	if _, err := transport.ParseProxies(o.ProxyProtocolFrom); err != nil {
		return wrong("proxy-protocol-from", "%w", err)
	}
	return nil
}

func checkAddr(name, addr string) error {
	if addr == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return wrong(name, "%q is not host:port, such as :1883 or 127.0.0.1:1883", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return wrong(name, "%q has no port from 0 to 65535", addr)
	} else if n == 0 && port != "0" {
		return wrong(name, "%q has no port; 0 lets the system pick one", addr)
	}
	return nil
}

// checkOrigin wants an origin as browsers send it (RFC 6454 clause 6.1).
// Anything else would never match, and so refuse in silence.
func checkOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return wrong("ws-origins", "%q is not an origin, such as https://example.com, nor *", origin)
	}
	return nil
}

// Validate checks the URL of the database. What a URL that cannot be read
// holds is not repeated: a part of the password may be in it.
func (o *DatabaseOptions) Validate() error {
	if o.DatabaseURL == "" {
		return nil
	}
	u, err := url.Parse(string(o.DatabaseURL))
	if err != nil {
		return wrong("database-url", "is not a URL; special characters of the password must be percent-encoded")
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return wrong("database-url", "must begin with postgres://")
	}
	return nil
}

// Validate checks that there is a folder.
func (o *DataOptions) Validate() error {
	if o.DataDir == "" {
		return wrong("data-dir", "must not be empty")
	}
	return nil
}

// Validate checks that one key at most is set. Which of two was meant would be
// a guess.
func (o *TokenOptions) Validate() error {
	if set := o.keys(); len(set) > 1 {
		return wrong(set[0], "is set together with %s; set one of them", strings.Join(set[1:], " and "))
	}
	if n := len(o.JWTSecret); n > 0 && n < acl.MinSecret {
		return wrong("jwt-secret", "must be at least %d bytes, has %d", acl.MinSecret, n)
	}
	if o.JWKSURL != "" {
		u, err := url.Parse(string(o.JWKSURL))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return wrong("jwks-url", "must be an http or https URL")
		}
	}
	if o.MaxTokenLife < 0 {
		return wrong("max-token-life", "must not be less than 0, is %v", o.MaxTokenLife)
	}
	return nil
}

// validateDevLogin wants a server that is for trying out: one that others
// trust, because its secret was chosen or because it stands behind a proxy,
// gives tokens to nobody.
func (o *Options) validateDevLogin() error {
	switch set := o.keys(); {
	case !o.DevLogin:
		return nil
	case len(set) > 0:
		return wrong("dev-login", "is on, but so is %s; tokens by name are signed with the generated secret alone", set[0])
	case len(o.ProxyProtocolFrom) > 0:
		return wrong("dev-login", "is on, but so is proxy-protocol-from; behind a proxy a stranger may look local")
	}
	return nil
}

// Validate checks level and format.
func (o *LogOptions) Validate() error {
	if _, ok := logLevels[o.LogLevel]; !ok {
		return wrong("log-level", "%q is not debug, info, warn or error", o.LogLevel)
	}
	if !slices.Contains([]string{"text", "json"}, o.LogFormat) {
		return wrong("log-format", "%q is not text or json", o.LogFormat)
	}
	return nil
}
