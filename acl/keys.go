package acl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// The algorithms, RFC 7518 clause 3.1 and RFC 8037 clause 3.1. A key fits
// exactly one of them, so that nobody else's choice can make another of it.
const (
	algHS256 = "HS256"
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

// minRSABits is what RFC 7518 clause 3.3 demands.
const minRSABits = 2048

// maxKeyFile bounds what is read. A certificate takes 2 KiB.
const maxKeyFile = 64 << 10

// publicKey is a key with the one algorithm that it verifies.
type publicKey struct {
	alg string
	key any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// newPublicKey finds the algorithm of a key that is not secret.
func newPublicKey(key crypto.PublicKey) (publicKey, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return publicKey{}, fmt.Errorf("the RSA key has %d bits, fewer than %d", k.N.BitLen(), minRSABits)
		}
		return publicKey{algRS256, k}, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return publicKey{}, errors.New("the EC key is not on the curve P-256")
		}
		return publicKey{algES256, k}, nil
	case ed25519.PublicKey:
		return publicKey{algEdDSA, k}, nil
	}
	return publicKey{}, errors.New("the key is neither RSA nor P-256 nor Ed25519")
}

// readPublicKey reads the one key of a PEM file. Errors name the setting and
// the file.
func readPublicKey(path string) (publicKey, error) {
	key, err := loadPublicKey(path)
	if err != nil {
		return publicKey{}, fmt.Errorf("jwt-public-key-file: %w", err)
	}
	return key, nil
}

func loadPublicKey(path string) (publicKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return publicKey{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return publicKey{}, err
	}
	if len(text) > maxKeyFile {
		return publicKey{}, fmt.Errorf("%s is longer than %d bytes", path, maxKeyFile)
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return publicKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parsePublicKey wants one PEM block and no second: which of two keys is meant
// would be a guess.
func parsePublicKey(text []byte) (publicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return publicKey{}, errors.New("holds no PEM block")
	}
	if next, _ := pem.Decode(rest); next != nil || bytes.Contains(rest, []byte("-----BEGIN")) {
		return publicKey{}, errors.New("holds more than one PEM block")
	}
	var key crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return publicKey{}, errors.New("holds a private key; the server needs the public one alone")
	default:
		return publicKey{}, errors.New("holds neither a public key nor a certificate")
	}
	if err != nil {
		return publicKey{}, err
	}
	return newPublicKey(key)
}
