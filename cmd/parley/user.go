package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/app"
)

// userFlags say as whom, and to which server, a command speaks.
type userFlags struct {
	As    string     `name:"as" placeholder:"USER" help:"Who you are. The token is made with the secret of the settings below."`
	Token app.Secret `name:"token" placeholder:"TOKEN" help:"Your token, where the secret is not here. $PARLEY_TOKEN, which others on this machine do not see."`
	URL   string     `name:"url" placeholder:"URL" help:"Another server, as https://chat.example.com. Default: the one with the settings below, on this machine. $PARLEY_URL"`

	configFlag
	HTTPAddr string `name:"http-addr" placeholder:"HOST:PORT" default:":8080" help:"Where the server here has HTTP. Default: ${default}."`
	TLSCA    string `name:"tls-ca" placeholder:"FILE" help:"PEM file with the authorities that are trusted. Default: the system's."`
	TLSCert  string `name:"tls-cert" placeholder:"FILE" help:"The server here has HTTPS."`
	app.DataOptions
	app.TokenOptions
}

// conversationFlags name a conversation, and make it.
type conversationFlags struct {
	Conversation string   `name:"conversation" short:"c" placeholder:"ID" help:"The conversation."`
	Create       bool     `name:"create" help:"Create it if it is not there."`
	Members      []string `name:"members" placeholder:"USER" help:"Its first members beside you, with commas between them; with --create."`
}

// Variables that are no settings of a server: they hold for those who use one.
const (
	tokenVariable = envPrefix + "TOKEN"
	urlVariable   = envPrefix + "URL"
)

const (
	healthTimeout  = 5 * time.Second
	connectTimeout = 15 * time.Second
	tokenLife      = time.Hour
)

// address is where the server is.
func (f *userFlags) address(c *call) (string, error) {
	if url := orElse(f.URL, c.variable(urlVariable)); url != "" {
		return strings.TrimSuffix(url, "/"), nil
	}
	if f.HTTPAddr == "" {
		return "", &app.SettingError{Err: errors.New("http-addr: is empty, so there is nothing to connect to; name the server with --url")}
	}
	scheme := "http://"
	if f.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + reachable(f.HTTPAddr), nil
}

// tokens is where tokens come from. It needs no server.
func (f *userFlags) tokens(c *call) (client.TokenFunc, error) {
	given := strings.TrimSpace(string(f.Token))
	if given == "" && f.As == "" {
		given = strings.TrimSpace(c.variable(tokenVariable))
	}
	switch {
	case given != "" && f.As != "":
		return nil, &app.SettingError{Err: errors.New("as: --token says already who you are")}
	case given != "":
		return client.StaticToken(given), nil
	case f.As == "":
		return nil, &app.SettingError{Err: errors.New("as: say who you are, with --as or --token")}
	}
	secret, err := f.Secret(f.DataOptions)
	if err != nil {
		return nil, err
	}
	life := tokenLife
	if f.MaxTokenLife > 0 {
		life = min(life, f.MaxTokenLife)
	}
	mint := func(context.Context) (string, error) {
		return acl.Mint(secret, acl.Claims{Subject: f.As, TTL: life, Issuer: f.JWTIssuer, Audience: f.JWTAudience})
	}
	if _, err := mint(c); err != nil {
		return nil, &app.SettingError{Err: err}
	}
	return mint, nil
}

// options are those of a client. The server is asked first whether it is
// there: what is wrong is then said in one line and at once.
func (f *userFlags) options(c *call) (client.Options, error) {
	url, err := f.address(c)
	if err != nil {
		return client.Options{}, err
	}
	trust, err := f.trust()
	if err != nil {
		return client.Options{}, err
	}
	if err := f.reach(c, url, trust); err != nil {
		return client.Options{}, err
	}
	tokens, err := f.tokens(c)
	return client.Options{URL: url, Token: tokens, TLS: trust}, err
}

// trust says whose certificates hold; nil is the system's.
func (f *userFlags) trust() (*tls.Config, error) {
	if f.TLSCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.TLSCA)
	if err != nil {
		return nil, &app.SettingError{Err: fmt.Errorf("tls-ca: %w", err)}
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !conf.RootCAs.AppendCertsFromPEM(text) {
		return nil, &app.SettingError{Err: fmt.Errorf("tls-ca: %s has no certificate in PEM", f.TLSCA)}
	}
	return conf, nil
}

// connect connects.
func (f *userFlags) connect(c *call, o client.Options) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(c, connectTimeout)
	defer cancel()
	conn, err := client.Connect(ctx, o)
	switch {
	case errors.Is(err, client.ErrUnauthorized) && f.As != "":
		return nil, fmt.Errorf("%s does not take tokens made with the secret here: go to the folder of the server, "+
			"or name its data-dir or jwt-secret (%w)", o.URL, err)
	case errors.Is(err, client.ErrInvalid):
		return nil, &app.SettingError{Err: err}
	case err != nil:
		return nil, fmt.Errorf("connecting to %s: %w", o.URL, err)
	}
	return conn, nil
}

// reach asks whether a server is there.
func (f *userFlags) reach(ctx context.Context, url string, trust *tls.Config) error {
	if !strings.HasPrefix(url, "http") && !strings.HasPrefix(url, "ws") {
		return &app.SettingError{Err: errors.New("url: begins with neither http:// nor https://")}
	}
	url = "http" + strings.TrimPrefix(strings.TrimPrefix(url, "ws"), "http")
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/mqtt")+"/healthz", nil)
	if err != nil {
		return &app.SettingError{Err: fmt.Errorf("url: %w", err)}
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: trust}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		hint := ""
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			hint = "; --tls-ca names the file of its authority"
		} else if f.URL == "" {
			hint = "; \"parley serve\" starts one"
		}
		return fmt.Errorf("no server answers at %s%s (%w)", url, hint, errors.Unwrap(err))
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("what answers at %s is not a Parley (status %d)", url, answer.StatusCode)
	}
	return nil
}

// ensure finds the conversation, or creates it where that is wanted.
func (f *conversationFlags) ensure(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	_, err := c.Conversation(ctx, f.Conversation)
	switch {
	case errors.Is(err, client.ErrNotFound) && f.Create:
		_, err = c.CreateConversation(ctx, client.NewConversation{ID: f.Conversation, Members: f.Members})
		if err != nil {
			return fmt.Errorf("creating %s: %w", f.Conversation, err)
		}
	case errors.Is(err, client.ErrNotFound):
		return fmt.Errorf("there is no conversation %s; --create makes it", f.Conversation)
	case errors.Is(err, client.ErrForbidden):
		return fmt.Errorf("%s is not a member of %s", c.UserID(), f.Conversation)
	case err != nil:
		return fmt.Errorf("conversation: %w", err)
	}
	return nil
}

// Validate checks what can be checked without a server.
func (f *conversationFlags) Validate() error {
	if len(f.Members) > 0 && !f.Create {
		return errors.New("members: are those of a new conversation; say --create")
	}
	return nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
