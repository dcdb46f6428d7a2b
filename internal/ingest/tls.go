package ingest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// TLSFiles are PEM files, read at each connection: so new ones are taken
// without a restart.
type TLSFiles struct {
	CA, Cert, Key string // "" is the system's authorities, and no certificate
}

// config is that of a connection, or nil where there is to be no TLS.
func (f *TLSFiles) config(to *url.URL) (*tls.Config, error) {
	if to.Scheme != schemeTLS {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: to.Hostname()}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", f.CA)
		}
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// Check reads the files once.
func (f *TLSFiles) Check(to *url.URL) error {
	if to.Scheme != schemeTLS && *f != (TLSFiles{}) {
		return fmt.Errorf("is for %s://, and the address begins with %s://", schemeTLS, to.Scheme)
	}
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("a certificate and its key come together")
	}
	_, err := f.config(to)
	return err
}

const (
	schemeTCP = "mqtt"
	schemeTLS = "mqtts"
)

// ParseBroker reads mqtt://HOST[:1883] or mqtts://HOST[:8883].
func ParseBroker(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL") // the error would repeat it, with a password
	}
	port := map[string]string{schemeTCP: "1883", schemeTLS: "8883"}[u.Scheme]
	switch {
	case port == "":
		return nil, errors.New("begins with neither mqtt:// nor mqtts://")
	case u.User != nil:
		return nil, errors.New("has a user or password in it; there are settings for them that ps does not show")
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("is not of the form mqtts://HOST:PORT")
	}
	if u.Port() == "" {
		u.Host += ":" + port
	}
	return u, nil
}

// readLine reads a file that holds a secret.
func readLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimRight(string(text), "\r\n"), err
}
