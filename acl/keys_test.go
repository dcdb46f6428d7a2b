package acl

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func certificate(t *testing.T) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"},
		NotBefore: testNow, NotAfter: testNow.Add(time.Hour)}
	return block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, &ecKey().PublicKey, ecKey())))
}

func TestPublicKeyFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		text   []byte
		method jwt.SigningMethod
		key    any
	}{
		{"RSA", publicPEM(t, &rsaKey().PublicKey), jwt.SigningMethodRS256, rsaKey()},
		{"RSA PKCS 1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)), jwt.SigningMethodRS256, rsaKey()},
		{"P-256", publicPEM(t, &ecKey().PublicKey), jwt.SigningMethodES256, ecKey()},
		{"Ed25519", publicPEM(t, edKey().Public()), jwt.SigningMethodEdDSA, edKey()},
		{"certificate", certificate(t), jwt.SigningMethodES256, ecKey()},
		{"text around", append([]byte("a key\n"), append(publicPEM(t, edKey().Public()), "\nend\n"...)...), jwt.SigningMethodEdDSA, edKey()},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newTestVerifier(t, Config{PublicKeyFile: writeFile(t, c.text)})
			wantUser(t, v, sign(t, c.method, c.key, `{"alg":"`+c.method.Alg()+`"}`, claimsAt(time.Hour, "")), "alice")
		})
	}
}

func TestPublicKeyFilesRefused(t *testing.T) {
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	private := must(x509.MarshalPKCS8PrivateKey(edKey()))
	ed := publicPEM(t, edKey().Public())
	for _, c := range []struct {
		name, want string
		text       []byte
	}{
		{"empty", "no PEM", nil},
		{"not PEM", "no PEM", []byte("0123456789abcdef0123456789abcdef")},
		{"weak RSA", "1024 bits", publicPEM(t, &rsaWeak().PublicKey)},
		{"P-384", "P-256", publicPEM(t, &ecKey384().PublicKey)},
		{"X25519", "neither RSA", publicPEM(t, x25519.PublicKey())},
		{"private key", "private key", block("PRIVATE KEY", private)},
		{"another kind", "neither a public key", block("X", private)},
		{"garbage", "jwt-public-key-file", block("PUBLIC KEY", []byte("garbage"))},
		{"garbage certificate", "jwt-public-key-file", block("CERTIFICATE", []byte("garbage"))},
		{"two keys", "more than one", append(ed, ed...)},
		{"a key and a broken one", "more than one", append(ed, "-----BEGIN PUBLIC KEY-----\n"...)},
		{"long", "longer than", bytes.Repeat([]byte("\n"), maxKeyFile+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, c.text)
			_, err := New(t.Context(), Config{PublicKeyFile: path})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{"jwt-public-key-file: ", path, c.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestPublicKeyFileIsADirectory(t *testing.T) {
	if _, err := New(t.Context(), Config{PublicKeyFile: t.TempDir()}); err == nil {
		t.Error("no error")
	}
}
