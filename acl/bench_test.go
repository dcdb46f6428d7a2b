package acl

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func BenchmarkVerify(b *testing.B) {
	claims := claimsAt(time.Hour, `,"iat":1700000000,"jti":"0192-a","scope":"notify","acl":{"pub":["devices/d1/#"],"sub":["devices/d1/#"]}`)
	for _, c := range []struct {
		name   string
		cfg    Config
		method jwt.SigningMethod
		key    any
	}{
		{"HS256", Config{Secret: testSecret}, jwt.SigningMethodHS256, testSecret},
		{"RS256", Config{PublicKeyFile: writeFile(b, publicPEM(b, &rsaKey().PublicKey))}, jwt.SigningMethodRS256, rsaKey()},
		{"ES256", Config{PublicKeyFile: writeFile(b, publicPEM(b, &ecKey().PublicKey))}, jwt.SigningMethodES256, ecKey()},
		{"EdDSA", Config{PublicKeyFile: writeFile(b, publicPEM(b, edKey().Public()))}, jwt.SigningMethodEdDSA, edKey()},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := newTestVerifier(b, c.cfg)
			token := sign(b, c.method, c.key, `{"alg":"`+c.method.Alg()+`","typ":"JWT"}`, claims)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMayPublish(b *testing.B) {
	id, topics, _ := guardCases(b)
	for _, topic := range topics {
		b.Run(topic.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := id.MayPublish(topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMaySubscribe(b *testing.B) {
	id, _, filters := guardCases(b)
	for _, filter := range filters {
		b.Run(filter.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := id.MaySubscribe(filter); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !Match("devices/+/telemetry/#", "devices/d1/telemetry/temperature/inside") {
			b.Fatal("no match")
		}
	}
}
