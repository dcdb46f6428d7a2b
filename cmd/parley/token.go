package main

import (
	"fmt"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/app"
)

type tokenCmd struct {
	Sub    string        `name:"sub" required:"" placeholder:"USER" help:"The user's id."`
	Scope  string        `name:"scope" placeholder:"WORDS" help:"notify, admin or both, with a space between them."`
	TTL    time.Duration `name:"ttl" placeholder:"TIME" default:"24h" help:"How long the token holds. Default: 24h."`
	ACLPub []string      `name:"acl-pub" sep:"none" placeholder:"FILTER" help:"MQTT filter of device topics to publish to; may be repeated."`
	ACLSub []string      `name:"acl-sub" sep:"none" placeholder:"FILTER" help:"MQTT filter of device topics to subscribe to; may be repeated."`

	configFlag
	app.DataOptions
	app.TokenOptions
}

// Run prints a token. It needs the secret, but no server.
func (cmd *tokenCmd) Run(c *call) error {
	secret, err := cmd.Secret(cmd.DataOptions)
	if err != nil {
		return err
	}
	token, err := acl.Mint(secret, acl.Claims{
		Subject: cmd.Sub, Scope: cmd.Scope, TTL: cmd.TTL, Pub: cmd.ACLPub, Sub: cmd.ACLSub,
		Issuer: cmd.JWTIssuer, Audience: cmd.JWTAudience,
	})
	if err != nil {
		return &app.SettingError{Err: err}
	}
	_, err = fmt.Fprintln(c.stdout, token)
	return err
}
