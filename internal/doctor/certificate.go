package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"time"
)

// soon is when a certificate that expires should have been renewed.
const soon = 14 * 24 * time.Hour

// certificate looks at the files of TLS as a server and its clients would.
func (d *doctor) certificate(context.Context) {
	if d.TLSCert == "" || d.TLSKey == "" {
		if d.TLSCert == "" && d.TLSKey == "" {
			d.ok("none: connections are not encrypted")
		}
		return // one without the other is told with the settings
	}
	pair, err := tls.LoadX509KeyPair(d.TLSCert, d.TLSKey)
	if err != nil {
		d.fail("write the certificate of the server, with those between it and its root, to tls-cert, and its key to tls-key",
			"tls-cert, tls-key: %v", err)
		return
	}
	d.leaf(pair.Leaf)
	d.chain(&pair)
	if info, err := os.Stat(d.TLSKey); err == nil && info.Mode().Perm()&0o007 != 0 {
		d.warn("chmod 600 "+d.TLSKey, "tls-key: %s has mode %04o: everybody on this machine can read it", d.TLSKey, info.Mode().Perm())
	}
	if d.TLSClientCA != "" {
		d.clientCA()
	}
}

// leaf looks at the certificate of the server itself.
func (d *doctor) leaf(leaf *x509.Certificate) {
	now, until := time.Now(), leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case now.After(leaf.NotAfter):
		d.fail("renew it", "tls-cert: expired at %s", until)
	case now.Before(leaf.NotBefore):
		d.fail("look at the clock, or wait", "tls-cert: holds from %s on", leaf.NotBefore.UTC().Format(time.RFC3339))
	case leaf.NotAfter.Sub(now) < soon:
		d.warn("renew it", "tls-cert: expires at %s", until)
	default:
		d.ok("holds until %s", until)
	}
	names := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		d.fail("have it made with subject alternative names", "tls-cert: names no host; clients refuse it")
		return
	}
	d.ok("for %s", strings.Join(names, ", "))
}

// chain looks whether a client of this machine would trust it.
func (d *doctor) chain(pair *tls.Certificate) {
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	// Times were looked at.
	at := pair.Leaf.NotBefore.Add(pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore) / 2)
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Intermediates: between, CurrentTime: at})
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		d.ok("this machine trusts it")
	case errors.As(err, &unknown):
		d.warn("if it is from a public authority, add the certificates between it and the root to tls-cert; else give clients its authority",
			"tls-cert: this machine does not trust who signed it (%s)", pair.Leaf.Issuer)
	default:
		d.warn("clients will refuse it as well", "tls-cert: %v", err)
	}
}

func (d *doctor) clientCA() {
	const advice = "write the certificates of the authorities that sign those of clients to tls-client-ca, in PEM"
	text, err := os.ReadFile(d.TLSClientCA)
	if err != nil {
		d.fail(advice, "tls-client-ca: %v", err)
		return
	}
	certs := parseCertificates(text)
	if len(certs) == 0 {
		d.fail(advice, "tls-client-ca: %s holds no certificate in PEM", d.TLSClientCA)
		return
	}
	for _, c := range certs {
		switch left := time.Until(c.NotAfter); {
		case left < 0:
			d.fail("renew it", "tls-client-ca: %s expired at %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		case left < soon:
			d.warn("renew it", "tls-client-ca: %s expires at %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	d.ok("%d authorities of clients", len(certs))
}
