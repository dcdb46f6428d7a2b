package app

import (
	"bytes"
	"os"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/internal/webhook"
)

// WebhookOptions say whom the server tells what happens in conversations.
type WebhookOptions struct {
	WebhookURL         Secret        `name:"webhook-url" placeholder:"URL" help:"Where events are sent as HTTP requests, see docs/webhooks.md; empty turns it off."`
	WebhookSecret      Secret        `name:"webhook-secret" placeholder:"SECRET" help:"Signs the requests, at least 32 bytes."`
	WebhookSecretFile  string        `name:"webhook-secret-file" placeholder:"FILE" help:"File with the secret instead."`
	WebhookEvents      []string      `name:"webhook-events" placeholder:"EVENT" help:"Events that are sent, with commas between them: message.created, member.joined, member.left, user.offline_message. Default: all."`
	WebhookConcurrency int           `name:"webhook-concurrency" placeholder:"N" default:"8" help:"Requests at the same time, each for another conversation. Default: ${default}."`
	WebhookGiveUp      time.Duration `name:"webhook-give-up" placeholder:"TIME" default:"24h" help:"How long an event is tried again that the endpoint refuses, before it is skipped. Default: ${default}."`
}

const mostWebhooks = 1000

// Validate checks that what is needed is there.
func (o *WebhookOptions) Validate() error {
	if o.WebhookURL != "" {
		if err := webhook.CheckURL(string(o.WebhookURL)); err != nil {
			return wrong("webhook-url", "%w", err)
		}
		if o.WebhookSecret == "" && o.WebhookSecretFile == "" {
			return wrong("webhook-secret", "is empty and so is webhook-secret-file; webhook-url needs one of them")
		}
	}
	if o.WebhookSecret != "" && o.WebhookSecretFile != "" {
		return wrong("webhook-secret", "is set together with webhook-secret-file; set one of them")
	}
	if n := len(o.WebhookSecret); n > 0 && n < webhook.MinSecret {
		return wrong("webhook-secret", "must be at least %d bytes, has %d", webhook.MinSecret, n)
	}
	if err := webhook.CheckEvents(o.WebhookEvents); err != nil {
		return wrong("webhook-events", "%w", err)
	}
	if n := o.WebhookConcurrency; n < 1 || n > mostWebhooks {
		return wrong("webhook-concurrency", "must be from 1 to %d, is %d", mostWebhooks, n)
	}
	if o.WebhookGiveUp <= 0 {
		return wrong("webhook-give-up", "must be more than 0, is %v", o.WebhookGiveUp)
	}
	return nil
}

// secret is the secret that is set, or that of the file without the white
// space round it.
func (o *WebhookOptions) secret() ([]byte, error) {
	if o.WebhookSecretFile == "" {
		return []byte(o.WebhookSecret), nil
	}
	text, err := os.ReadFile(o.WebhookSecretFile)
	if err != nil {
		return nil, wrong("webhook-secret-file", "%w", err)
	}
	text = bytes.TrimSpace(text)
	if n := len(text); n < webhook.MinSecret {
		return nil, wrong("webhook-secret-file", "must hold at least %d bytes, has %d", webhook.MinSecret, n)
	}
	return text, nil
}

func (a *App) newWebhook() (*webhook.Dispatcher, error) {
	o := &a.opts.WebhookOptions
	secret, err := o.secret()
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Config{Log: a.log, Store: a.store, Presence: a.broker, Logger: a.logger, Registerer: a.registry,
		URL: string(o.WebhookURL), Secret: secret, Events: o.WebhookEvents, Concurrency: o.WebhookConcurrency,
		GiveUp: o.WebhookGiveUp, UserAgent: "Parley/" + strings.Trim(ReadBuild().Version, "()")}), nil
}
