package acl

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// jwk writes a public key with more members after it.
func jwk(key any, more string) string {
	enc := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"%s"%s}`, enc(k.N.Bytes()), enc(big.NewInt(int64(k.E)).Bytes()), more)
	case *ecdsa.PrivateKey:
		point := must(k.PublicKey.Bytes())[1:]
		return fmt.Sprintf(`{"kty":"EC","crv":"%s","x":"%s","y":"%s"%s}`, k.Params().Name,
			enc(point[:len(point)/2]), enc(point[len(point)/2:]), more)
	case ed25519.PrivateKey:
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s"%s}`, enc(k.Public().(ed25519.PublicKey)), more)
	}
	panic("no such key")
}

func TestKeySet(t *testing.T) {
	rs, es, ed := jwk(rsaKey(), `,"kid":"r"`), jwk(ecKey(), `,"kid":"e","alg":"ES256","use":"sig","key_ops":["verify"]`),
		jwk(edKey(), `,"kid":"d","alg":"EdDSA"`)
	private := fmt.Sprintf(`,"kid":"p","d":"%s"`, base64.RawURLEncoding.EncodeToString(edKey2().Seed()))
	for _, c := range []struct {
		name    string
		set     string
		method  jwt.SigningMethod
		key     any
		kid     string
		want    bool
		skipped int
	}{
		{"RSA", jwks(rs, es, ed), jwt.SigningMethodRS256, rsaKey(), "r", true, 0},
		{"P-256", jwks(rs, es, ed), jwt.SigningMethodES256, ecKey(), "e", true, 0},
		{"Ed25519", jwks(rs, es, ed), jwt.SigningMethodEdDSA, edKey(), "d", true, 0},
		{"no kid in the token", jwks(rs, es, ed), jwt.SigningMethodES256, ecKey(), "", true, 0},
		{"no kid in the token, two keys fit", jwks(ed, jwk(edKey2(), "")), jwt.SigningMethodEdDSA, edKey2(), "", true, 0},
		{"kid of another kind", jwks(rs, es, ed), jwt.SigningMethodRS256, rsaKey(), "e", false, 0},
		{"PS256 with the RSA key", jwks(rs, es, ed), jwt.SigningMethodPS256, rsaKey(), "r", false, 0},
		{"one kid for two kinds", jwks(jwk(rsaKey(), `,"kid":"k"`), jwk(edKey(), `,"kid":"k"`)), jwt.SigningMethodEdDSA, edKey(), "k", true, 0},
		{"one kid for two keys", jwks(jwk(edKey(), `,"kid":"k"`), jwk(edKey2(), `,"kid":"k"`)), jwt.SigningMethodEdDSA, edKey2(), "k", true, 0},
		{"bad keys beside it", jwks("7", "null", "{}", `{"kty":"RSA"}`, `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`,
			`{"kty":"OKP","crv":"Ed25519","x":"AA"}`, `{"kty":"OKP","crv":"Ed448","x":"AA"}`, `{"kid":7}`, ed), jwt.SigningMethodEdDSA, edKey(), "d", true, 8},
		{"for encryption", jwks(jwk(edKey(), `,"kid":"k","use":"enc"`), rs), jwt.SigningMethodEdDSA, edKey(), "k", false, 1},
		{"not to verify", jwks(jwk(edKey(), `,"kid":"k","key_ops":["encrypt"]`), rs), jwt.SigningMethodEdDSA, edKey(), "k", false, 1},
		{"PS256 by its own word", jwks(jwk(rsaKey(), `,"kid":"k","alg":"PS256"`), ed), jwt.SigningMethodRS256, rsaKey(), "k", false, 1},
		{"weak RSA", jwks(jwk(rsaWeak(), `,"kid":"k"`), ed), jwt.SigningMethodRS256, rsaWeak(), "k", false, 1},
		{"P-384", jwks(jwk(ecKey384(), `,"kid":"k"`), ed), jwt.SigningMethodES384, ecKey384(), "k", false, 1},
		{"secret", jwks(`{"kty":"oct","kid":"k","k":"`+b64(string(testSecret))+`"}`, ed), jwt.SigningMethodHS256, testSecret, "k", false, 1},
		{"private", jwks(jwk(edKey2(), private), ed), jwt.SigningMethodEdDSA, edKey2(), "p", true, 0},
		{"too many", jwks(strings.Repeat(rs+",", fetchKeys) + ed), jwt.SigningMethodEdDSA, edKey(), "d", false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, skipped, err := parseKeySet([]byte(c.set)); err != nil || skipped != c.skipped {
				t.Errorf("%d left out, %v, want %d", skipped, err, c.skipped)
			}
			header := fmt.Sprintf(`{"alg":"%s","kid":"%s"}`, c.method.Alg(), c.kid)
			token := sign(t, c.method, c.key, header, claimsAt(time.Hour, ""))
			synctest.Test(t, func(t *testing.T) {
				e := &endpoint{}
				e.serve(c.set)
				v := e.verifier(t.Context(), t, nil)
				defer v.Close()
				pass(0)
				_, err := v.Verify(token)
				if (err == nil) != c.want {
					t.Errorf("got %v, want accepted: %v", err, c.want)
				}
				if err != nil {
					wantCode(t, err, chat.CodeUnauthorized)
				}
			})
		})
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(jwks(jwk(edKey(), `,"kid":"d"`), jwk(ecKey(), ""), jwk(rsaKey(), `,"use":"sig"`))))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, _, err := parseKeySet(body)
		if err != nil {
			return
		}
		if !json.Valid(body) || set.size == 0 || set.size > fetchKeys {
			t.Errorf("%d keys of %q", set.size, body)
		}
		for id, keys := range set.keys {
			for _, key := range keys.Keys {
				if k, err := newPublicKey(key); err != nil || k.alg != id.alg {
					t.Errorf("key %v: %v, %v", id, k.alg, err)
				}
			}
		}
	})
}
