package app

import (
	"errors"
	"log/slog"

	"github.com/parley-mqtt/parley/broker/transport"
)

// TLSOptions say how connections are encrypted, and which clients may have
// one. With a certificate HTTP is HTTPS, and so WebSocket is wss.
type TLSOptions struct {
	TLSCert       string `name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate of the server and those between it and its root. HTTP is HTTPS with it. Taken anew when it changes."`
	TLSKey        string `name:"tls-key" placeholder:"FILE" help:"PEM file with its private key. Taken anew when it changes."`
	TLSClientCA   string `name:"tls-client-ca" placeholder:"FILE" help:"PEM file with the authorities of client certificates, which are asked for with it. Taken anew when it changes."`
	TLSClientAuth string `name:"tls-client-auth" placeholder:"WHEN" default:"optional" help:"required refuses clients without a certificate; optional refuses wrong ones alone. Default: ${default}."`
}

const (
	clientAuthOptional = "optional"
	clientAuthRequired = "required"
)

// Validate checks that what belongs together is set together.
func (o *TLSOptions) Validate() error {
	switch {
	case o.TLSCert != "" && o.TLSKey == "":
		return wrong("tls-cert", "is set, but tls-key is not")
	case o.TLSCert == "" && o.TLSKey != "":
		return wrong("tls-key", "is set, but tls-cert is not")
	case o.TLSClientCA != "" && o.TLSCert == "":
		return wrong("tls-client-ca", "is set, but tls-cert is not")
	case o.TLSClientAuth != clientAuthOptional && o.TLSClientAuth != clientAuthRequired:
		return wrong("tls-client-auth", "%q is not optional or required", o.TLSClientAuth)
	case o.TLSClientAuth == clientAuthRequired && o.TLSClientCA == "":
		return wrong("tls-client-auth", "is required, but tls-client-ca is not set")
	}
	return nil
}

// RequiresClientCert says whether clients without a certificate are refused.
func (o *TLSOptions) RequiresClientCert() bool { return o.TLSClientAuth == clientAuthRequired }

// load reads the files, nil if there are none.
func (o *TLSOptions) load(logger *slog.Logger) (*transport.TLS, error) {
	if o.TLSCert == "" {
		return nil, nil
	}
	files, err := transport.NewTLS(transport.Files{Cert: o.TLSCert, Key: o.TLSKey,
		ClientCA: o.TLSClientCA, RequireClient: o.TLSClientAuth == clientAuthRequired}, logger)
	var bad *transport.FileError
	if errors.As(err, &bad) {
		return nil, wrong("tls-"+bad.Part, "%w", bad.Err)
	}
	return files, err
}
