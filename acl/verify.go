package acl

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// MaxToken is the length of the longest token that is read, in bytes.
	MaxToken = 8 << 10
	// MinSecret is the length of the shortest secret, in bytes: that of the
	// hash, as RFC 7518 clause 3.2 demands.
	MinSecret = 32

	// leeway is what the clocks of issuer and server may differ by.
	leeway = 5 * time.Second
)

// Config says which tokens hold. Exactly one of Secret, PublicKeyFile and
// JWKSURL must be set.
type Config struct {
	// Secret is the key of HS256, at least MinSecret bytes.
	Secret []byte
	// PublicKeyFile is a PEM file with one public key or certificate. Its kind
	// picks the algorithm: RSA is RS256, P-256 is ES256, Ed25519 is EdDSA.
	PublicKeyFile string
	// JWKSURL is where a JWK Set (RFC 7517) is fetched from.
	JWKSURL string

	// Issuer and Audience are the required iss and aud. "" is no check.
	Issuer, Audience string
	// MaxLife is the longest time from iat to exp; a token must have an iat
	// then. 0 is no check.
	MaxLife time.Duration
	// Revoked says that a token does not hold any more. It is asked for each
	// token, must not block, and is safe for concurrent use. nil is never.
	Revoked func(id *Identity) bool

	// Now tells the time that claims are compared with. nil is time.Now.
	Now func() time.Time
	// Logger gets what goes wrong with the JWKS endpoint. nil is no log.
	Logger *slog.Logger
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	algs      []string
	parser    *jwt.Parser
	validator *jwt.Validator
	keyfunc   jwt.Keyfunc
	maxLife   time.Duration
	revoked   func(*Identity) bool
	jwks      *jwksCache // nil when the key is fixed
}

// New makes a Verifier. An error names the setting that is wrong: jwt-secret,
// jwt-public-key-file or jwks-url.
//
// With JWKSURL, New starts the goroutine that fetches the keys and does not
// wait for it: an endpoint that is down does not stop the start. The goroutine
// ends with ctx or with Close.
func New(ctx context.Context, cfg Config) (*Verifier, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.JWKSURL != "" {
		return newJWKSVerifier(ctx, cfg, newTransport())
	}
	key := publicKey{alg: algHS256, key: append([]byte(nil), cfg.Secret...)}
	if cfg.PublicKeyFile != "" {
		var err error
		if key, err = readPublicKey(cfg.PublicKeyFile); err != nil {
			return nil, err
		}
	}
	return newVerifier(cfg, func(*jwt.Token) (any, error) { return key.key, nil }, key.alg), nil
}

func newJWKSVerifier(ctx context.Context, cfg Config, rt http.RoundTripper) (*Verifier, error) {
	cache, err := newJWKS(ctx, cfg.JWKSURL, rt, cfg.Logger)
	if err != nil {
		return nil, err
	}
	v := newVerifier(cfg, cache.keyfunc, algRS256, algES256, algEdDSA)
	v.jwks = cache
	return v, nil
}

func (cfg *Config) check() error {
	sources := 0
	for _, set := range []bool{len(cfg.Secret) > 0, cfg.PublicKeyFile != "", cfg.JWKSURL != ""} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("set exactly one of jwt-secret, jwt-public-key-file and jwks-url")
	}
	if len(cfg.Secret) > 0 {
		return checkSecret(cfg.Secret)
	}
	return nil
}

func newVerifier(cfg Config, keyfunc jwt.Keyfunc, algs ...string) *Verifier {
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	rules := []jwt.ParserOption{
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(now),
	}
	if cfg.Issuer != "" {
		rules = append(rules, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		rules = append(rules, jwt.WithAudience(cfg.Audience))
	}
	return &Verifier{
		algs: algs,
		parser: jwt.NewParser(jwt.WithValidMethods(algs), jwt.WithStrictDecoding(),
			jwt.WithoutClaimsValidation()), // they are not read before the signature held
		validator: jwt.NewValidator(rules...),
		keyfunc:   keyfunc,
		maxLife:   cfg.MaxLife,
		revoked:   cfg.Revoked,
	}
}

// Close stops the goroutine that fetches keys and waits for it to end. Tokens
// of keys that are known go on to be verified. It may be called more than
// once, from several goroutines.
func (v *Verifier) Close() {
	if v.jwks != nil {
		v.jwks.close()
	}
}

// Verify checks a token in JWS compact form (RFC 7515 clause 3.1): its
// signature by the configured key alone, exp and sub, which it must have, nbf
// and iat, and iss and aud when they are configured; that it does not live too
// long; and that it was not revoked. Times may differ by 5 s.
//
// The error is a *chat.Error with CodeUnauthorized and a text that holds
// nothing of the token. It has CodeUnavailable only as long as the JWKS
// endpoint has never answered: the token may hold, and the client should come
// again.
//
// Verify does no I/O itself. A token whose kid is unknown waits for a fetch of
// the keys, 5 s at most, if one is due, and delays no other. It is safe for
// concurrent use.
func (v *Verifier) Verify(token string) (Identity, error) {
	switch {
	case token == "":
		return Identity{}, unauthorized("there is no token")
	case len(token) > MaxToken:
		return Identity{}, unauthorized("the token is longer than %d bytes", MaxToken)
	case !tokenBytes(token):
		return Identity{}, unauthorized("the token is not a JWT")
	}
	var c claims
	parsed, err := v.parser.ParseWithClaims(token, &c, v.keyfunc)
	if err != nil {
		// The parser reports an algorithm that is not ours as a bad signature.
		if parsed != nil && parsed.Method != nil && !slices.Contains(v.algs, parsed.Method.Alg()) {
			err = errAlgorithm
		}
		return Identity{}, parseError(err)
	}
	// RFC 7515 clause 4.1.11: an extension that is not understood is refused.
	// None is understood here, and the parser does not look.
	if _, ok := parsed.Header["crit"]; ok {
		return Identity{}, unauthorized("the token needs an extension that is not supported")
	}
	if err := c.decode(); err != nil {
		return Identity{}, err
	}
	if err := v.validator.Validate(&c); err != nil {
		return Identity{}, claimsError(err)
	}
	id := Identity{
		UserID: c.subject, Expires: c.expires.Time, TokenID: c.tokenID,
		Scopes: c.scopes, Pub: c.pub, Sub: c.sub,
	}
	if c.issuedAt != nil {
		id.IssuedAt = c.issuedAt.Time
	}
	if err := v.checkLife(&id); err != nil {
		return Identity{}, err
	}
	if v.Revoked(&id) {
		return Identity{}, errRevoked
	}
	return id, nil
}

// Revoked reports whether the token of an identity was revoked since it was
// verified. It does no I/O.
func (v *Verifier) Revoked(id *Identity) bool { return v.revoked != nil && v.revoked(id) }

// checkLife wants a token to live no longer than Config.MaxLife: a revocation
// is not kept for longer.
func (v *Verifier) checkLife(id *Identity) error {
	switch {
	case v.maxLife == 0:
	case id.IssuedAt.IsZero():
		return unauthorized("the token does not say when it was issued")
	case id.Expires.Sub(id.IssuedAt) > v.maxLife:
		return unauthorized("the token lives longer than is allowed")
	}
	return nil
}

// tokenBytes wants the alphabet of base64url and dots. Go's decoder skips line
// breaks, so that without this many texts would be the same token.
func tokenBytes(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// Shared, like the refusals of the guards: nobody may change them.
var (
	errAlgorithm = unauthorized("the token's algorithm is not accepted")
	errSignature = unauthorized("the token's signature does not hold")
	errRevoked   = unauthorized("the token was revoked")
)

// parseError turns an error of the parser or the key function into one that
// may be shown. The text of the parser's errors quotes the token.
func parseError(err error) error {
	var known *chat.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, jwt.ErrTokenMalformed):
		return unauthorized("the token is not a JWT")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return errAlgorithm
	}
	return errSignature
}

func claimsError(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return unauthorized("the token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return unauthorized("the token is not valid yet")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return unauthorized("the token is from another issuer")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return unauthorized("the token is for another audience")
	}
	return unauthorized("the token lacks a claim that is required")
}
