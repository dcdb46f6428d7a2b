package acl

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Claims says what a minted token holds.
type Claims struct {
	Subject string // a user id
	Scope   string // words with spaces between them: notify, admin

	// Expires is exp, in whole seconds. When it is zero, exp is TTL from now.
	Expires time.Time
	TTL     time.Duration

	Pub, Sub []string // the filters of the acl claim
	TokenID  string   // jti; "" makes one, so that every token can be revoked alone
	Issuer   string   // iss, "" for none
	Audience string   // aud, "" for none
}

type mintedACL struct {
	Pub []string `json:"pub,omitempty"`
	Sub []string `json:"sub,omitempty"`
}

type mintedClaims struct {
	jwt.RegisteredClaims
	// IssuedAt has milliseconds: a token that is made right after its user's
	// were revoked is not taken for one of them.
	IssuedAt json.Number `json:"iat"`
	Scope    string      `json:"scope,omitempty"`
	ACL      *mintedACL  `json:"acl,omitempty"`
}

// Mint makes a token signed with HS256 (RFC 7518 clause 3.2). It refuses what
// Verify would refuse, except a time that is past. An error says which field
// is wrong. It is safe for concurrent use.
func Mint(secret []byte, c Claims) (string, error) {
	if err := checkSecret(secret); err != nil {
		return "", err
	}
	if err := c.check(); err != nil {
		return "", err
	}
	now := time.Now()
	expires := c.Expires
	if expires.IsZero() {
		expires = now.Add(c.TTL)
	}
	m := mintedClaims{Scope: c.Scope, RegisteredClaims: jwt.RegisteredClaims{
		Subject: c.Subject, Issuer: c.Issuer, ID: c.TokenID,
		ExpiresAt: jwt.NewNumericDate(expires),
	}, IssuedAt: json.Number(fmt.Sprintf("%d.%03d", now.Unix(), now.Nanosecond()/1e6))}
	if m.ID == "" {
		m.ID = rand.Text()
	}
	if c.Audience != "" {
		m.Audience = jwt.ClaimStrings{c.Audience}
	}
	if len(c.Pub)+len(c.Sub) > 0 {
		m.ACL = &mintedACL{Pub: c.Pub, Sub: c.Sub}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, m).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	if len(token) > MaxToken {
		return "", fmt.Errorf("the token would be longer than %d bytes", MaxToken)
	}
	return token, nil
}

func (c *Claims) check() error {
	if !chat.ValidID(c.Subject) {
		return fmt.Errorf("sub: must be 1 to %d characters of A-Z a-z 0-9 _ . @ : -", chat.MaxID)
	}
	for word := range strings.SplitSeq(c.Scope, " ") {
		// A misspelt scope would only show when the token is refused.
		if word != "" && parseScopes(word) == 0 {
			return errors.New("scope: knows notify and admin")
		}
	}
	if c.Expires.IsZero() && c.TTL < time.Second {
		return errors.New("ttl: must be a second or more")
	}
	if problem := checkFilters(c.Pub); problem != "" {
		return errors.New("acl.pub: " + problem)
	}
	if problem := checkFilters(c.Sub); problem != "" {
		return errors.New("acl.sub: " + problem)
	}
	return nil
}
