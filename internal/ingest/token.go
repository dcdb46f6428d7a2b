package ingest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Token is what says who writes.
type Token struct {
	Text    string
	User    string
	Expires time.Time
}

// Tokens gives a token that holds. It is asked again before one expires.
type Tokens interface {
	Current() (Token, error)
}

// TokenFile is a file with a token, which somebody else renews.
type TokenFile string

// Current reads the file.
func (f TokenFile) Current() (Token, error) {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return Token{}, err
	}
	t, err := ReadToken(strings.TrimSpace(string(text)))
	if err != nil {
		return t, fmt.Errorf("%s: %w", f, err)
	}
	return t, nil
}

// ReadToken reads who a JWT is for and how long it lives. Whether it holds is
// the server's to say. An error does not repeat it.
func ReadToken(text string) (Token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return Token{}, errors.New("is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Token{}, errors.New("is not a JWT")
	}
	var claims struct {
		Subject string  `json:"sub"`
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Subject == "" || claims.Expires == 0 {
		return Token{}, errors.New("is a JWT without sub or exp")
	}
	return Token{Text: text, User: claims.Subject, Expires: time.Unix(int64(claims.Expires), 0)}, nil
}

// renewAfter is when to look for a fresh one: with a fifth of its life to go
// where that is known, a minute before the end at the latest, and then every
// few seconds.
func (t Token) renewAfter(now time.Time) time.Duration {
	const soon = 5 * time.Second
	left := t.Expires.Sub(now)
	return max(soon, min(left-time.Minute, left*4/5))
}
