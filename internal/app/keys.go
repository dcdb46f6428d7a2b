package app

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/api"
)

// keys are the names of the settings that say how tokens are signed and are
// set.
func (o *TokenOptions) keys() []string {
	var set []string
	if o.JWTSecret != "" {
		set = append(set, "jwt-secret")
	}
	if o.JWTPublicKeyFile != "" {
		set = append(set, "jwt-public-key-file")
	}
	if o.JWKSURL != "" {
		set = append(set, "jwks-url")
	}
	return set
}

// ForeignKey names the setting by which somebody else signs the tokens, or is
// "" when the secret does.
func (o *TokenOptions) ForeignKey() string {
	if set := o.keys(); len(set) > 0 && o.JWTSecret == "" {
		return set[0]
	}
	return ""
}

// Secret is the secret that tokens are signed with: the one that is set, or
// that of the data folder, which is made when it is missing.
func (o *TokenOptions) Secret(data DataOptions) ([]byte, error) {
	if name := o.ForeignKey(); name != "" {
		return nil, wrong(name, "is set, so tokens come from whoever holds the private key; only those of jwt-secret can be made here")
	}
	if o.JWTSecret != "" {
		return []byte(o.JWTSecret), nil
	}
	if err := data.create(); err != nil {
		return nil, err
	}
	secret, err := acl.LoadOrCreateSecret(data.DataDir)
	if err != nil {
		return nil, &SettingError{err}
	}
	return secret, nil
}

// UsesDataDir says whether anything is kept in the data folder.
func (o *Options) UsesDataDir() bool {
	return o.DatabaseURL == "" || len(o.keys()) == 0
}

// create makes the data folder, for this user alone.
func (o *DataOptions) create() error {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return wrong("data-dir", "%w", err)
	}
	return nil
}

// devTokenLife is how long a token by name holds; the page asks for the next
// one by itself.
const devTokenLife = time.Hour

// devSigner signs tokens for who signs in by name; nil while dev-login is off.
func (o *Options) devSigner() (api.Signer, error) {
	if !o.DevLogin {
		return nil, nil
	}
	secret, err := o.Secret(o.DataOptions)
	if err != nil {
		return nil, err
	}
	life := devTokenLife
	if o.MaxTokenLife > 0 {
		life = min(life, o.MaxTokenLife)
	}
	return func(user, scope string) (string, time.Time, error) {
		// Whole seconds, rounded down: it must not live longer than it may.
		expires := time.Now().Add(life).Truncate(time.Second)
		token, err := acl.Mint(secret, acl.Claims{Subject: user, Scope: scope, Expires: expires,
			Issuer: o.JWTIssuer, Audience: o.JWTAudience})
		return token, expires, err
	}, nil
}

func newVerifier(ctx context.Context, o *Options, logger *slog.Logger, revoked func(*acl.Identity) bool) (*acl.Verifier, error) {
	cfg := acl.Config{PublicKeyFile: o.JWTPublicKeyFile, JWKSURL: string(o.JWKSURL),
		Issuer: o.JWTIssuer, Audience: o.JWTAudience, MaxLife: o.MaxTokenLife, Revoked: revoked, Logger: logger}
	if o.ForeignKey() == "" {
		var err error
		if cfg.Secret, err = o.Secret(o.DataOptions); err != nil {
			return nil, err
		}
	}
	// The fetching of keys ends with Close: tokens are checked until the last
	// connection is gone, however soon ctx ends.
	v, err := acl.New(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, &SettingError{err}
	}
	return v, nil
}
