package acl

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestVerifyIdentity(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	id, err := v.Verify(hs(t, claimsAt(time.Hour, fmt.Sprintf(`,"iat":%d,"jti":"t1",
		"scope":"notify openid admin","acl":{"pub":["devices/d1/#"],"sub":["a/+","chat/#"],"other":1}`, testNow.Unix()))))
	if err != nil {
		t.Fatal(err)
	}
	if id.UserID != "alice" || id.TokenID != "t1" || id.Scopes != Notify|Admin ||
		!id.Expires.Equal(testNow.Add(time.Hour)) || !id.IssuedAt.Equal(testNow) ||
		!slices.Equal(id.Pub, []string{"devices/d1/#"}) || !slices.Equal(id.Sub, []string{"a/+", "chat/#"}) {
		t.Errorf("got %+v", id)
	}
	id, err = v.Verify(hs(t, claimsAt(time.Hour, `,"scope":null,"acl":null,"jti":null,"iat":null,"nbf":null`)))
	if err != nil {
		t.Fatal(err)
	}
	if id.TokenID != "" || id.Scopes != 0 || !id.IssuedAt.IsZero() || id.Pub != nil || id.Sub != nil {
		t.Errorf("got %+v, want nothing but user and end", id)
	}
}

func TestVerifyScopes(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	for scope, want := range map[string]Scopes{
		"": 0, "notify": Notify, "admin": Admin, "notify admin": Notify | Admin, "  notify  ": Notify,
		"Admin": 0, "admin,notify": 0, "administrator": 0, "notify\tadmin": 0,
	} {
		id, err := v.Verify(hs(t, claimsAt(time.Hour, fmt.Sprintf(`,"scope":%q`, scope))))
		if err != nil || id.Scopes != want {
			t.Errorf("scope %q: got %b, %v, want %b", scope, id.Scopes, err, want)
		}
	}
}

// TestVerifyClaims signs with the right key and says something wrong.
func TestVerifyClaims(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	exp := testNow.Add(time.Hour).Unix()
	tooMany := strings.Repeat(`"a",`, maxFilters) + `"a"`
	for _, c := range []struct{ claims, want string }{
		{`{"sub":"alice"}`, "lacks a claim"},
		{`{"sub":"alice","exp":null}`, "lacks a claim"},
		{fmt.Sprintf(`{"sub":"alice","exp":"%d"}`, exp), "exp must be a number"},
		{`{"sub":"alice","exp":true}`, "exp must be a number"},
		{`{"sub":"alice","exp":{}}`, "exp must be a number"},
		{`{"sub":"alice","exp":-1}`, "exp must be seconds"},
		{`{"sub":"alice","exp":1e300}`, "exp must be seconds"},
		{`{"sub":"alice","exp":1e999}`, "exp must be seconds"},
		{fmt.Sprintf(`{"sub":"alice","exp":%d}`, exp*1000), "exp must be seconds"},
		{`{"sub":"alice","exp":0}`, "expired"},
		{fmt.Sprintf(`{"sub":"alice","EXP":%d}`, exp), "lacks a claim"},
		{fmt.Sprintf(`{"exp":%d}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":""}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":null}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":7}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":["alice"]}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"SUB":"alice"}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":"a/b"}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":"+"}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":"a\u0000"}`, exp), "sub must be"},
		{fmt.Sprintf(`{"exp":%d,"sub":"%s"}`, exp, strings.Repeat("a", 65)), "sub must be"},
		{claimsAt(time.Hour, `,"jti":7`), "jti must be"},
		{claimsAt(time.Hour, `,"iss":7`), "iss must be"},
		{claimsAt(time.Hour, `,"aud":7`), "aud must be"},
		{claimsAt(time.Hour, `,"aud":["a",7]`), "aud must be"},
		{claimsAt(time.Hour, `,"nbf":"1"`), "nbf must be"},
		{claimsAt(time.Hour, `,"iat":"1"`), "iat must be"},
		{claimsAt(time.Hour, `,"scope":["admin"]`), "scope must be"},
		{claimsAt(time.Hour, `,"acl":[]`), "acl must be"},
		{claimsAt(time.Hour, `,"acl":"#"`), "acl must be"},
		{claimsAt(time.Hour, `,"acl":{"pub":"#"}`), "acl.pub must be a list"},
		{claimsAt(time.Hour, `,"acl":{"sub":[1]}`), "acl.sub must be a list"},
		{claimsAt(time.Hour, `,"acl":{"sub":["a",""]}`), "acl.sub: filter 2: must not be empty"},
		{claimsAt(time.Hour, `,"acl":{"sub":[null]}`), "acl.sub: filter 1: must not be empty"},
		{claimsAt(time.Hour, `,"acl":{"pub":["a","b","a#"]}`), "acl.pub: filter 3: a wildcard must"},
		{claimsAt(time.Hour, `,"acl":{"pub":["#/a"]}`), "acl.pub: filter 1: # must be"},
		{claimsAt(time.Hour, `,"acl":{"pub":["chat/#/a"]}`), "acl.pub: filter 1: # must be"},
		{claimsAt(time.Hour, `,"acl":{"pub":["a\u0000"]}`), "acl.pub: filter 1: must not contain"},
		{claimsAt(time.Hour, `,"acl":{"pub":["`+strings.Repeat("a", chat.MaxTopic+1)+`"]}`), "acl.pub: filter 1: is longer"},
		{claimsAt(time.Hour, `,"acl":{"pub":[`+tooMany+`]}`), "acl.pub: has more than 100"},
		{claimsAt(time.Hour, `,"acl":{"sub":[`+tooMany+`]}`), "acl.sub: has more than 100"},
		{`[]`, "JSON object"}, {`null`, "JSON object"}, {`"x"`, "JSON object"}, {`7`, "JSON object"},
		{``, "not a JWT"}, {`{`, "not a JWT"}, {`{}{}`, "not a JWT"},
		{`{}`, "sub must be"},
	} {
		token := hs(t, c.claims)
		id, err := v.Verify(token)
		if err == nil {
			t.Errorf("%s: accepted as %+v", c.claims, id)
			continue
		}
		wantRefused(t, err, token, c.want)
	}
}

// TestVerifyExactNames: a claim in another case is another claim, and of a
// name that stands twice the last counts.
func TestVerifyExactNames(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	id, err := v.Verify(hs(t, claimsAt(time.Hour,
		`,"scope":"notify","Scope":"admin","SUB":"root","ACL":{"pub":["#"]},"acl":{"PUB":["#"]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if id.UserID != "alice" || id.Scopes != Notify || id.Pub != nil {
		t.Errorf("got %+v", id)
	}
	wantUser(t, v, hs(t, claimsAt(time.Hour, `,"sub":"bob"`)), "bob")
}

func TestVerifyTimes(t *testing.T) {
	now := testNow
	v := newTestVerifier(t, Config{Secret: testSecret, Now: func() time.Time { return now }})
	second := func(n int) int64 { return testNow.Unix() + int64(n) }
	for _, c := range []struct {
		claims string
		offset time.Duration // of the clock
		want   string        // "" is accepted
	}{
		{fmt.Sprintf(`"exp":%d`, second(0)), 0, ""},
		{fmt.Sprintf(`"exp":%d`, second(-5)), -time.Nanosecond, ""},
		{fmt.Sprintf(`"exp":%d`, second(-5)), 0, "expired"},
		{fmt.Sprintf(`"exp":%d.5`, second(-5)), 0, ""},
		{fmt.Sprintf(`"exp":%d.5`, second(-5)), 500 * time.Millisecond, "expired"},
		{fmt.Sprintf(`"exp":%d`, second(-3600)), 0, "expired"},
		{fmt.Sprintf(`"exp":%d,"nbf":%d`, second(60), second(5)), 0, ""},
		{fmt.Sprintf(`"exp":%d,"nbf":%d`, second(60), second(5)), -time.Nanosecond, "not valid yet"},
		{fmt.Sprintf(`"exp":%d,"nbf":%d`, second(60), second(6)), 0, "not valid yet"},
		{fmt.Sprintf(`"exp":%d,"iat":%d`, second(60), second(5)), 0, ""},
		{fmt.Sprintf(`"exp":%d,"iat":%d`, second(60), second(5)), -time.Nanosecond, "not valid yet"},
		{fmt.Sprintf(`"exp":%d,"iat":%d`, second(60), second(6)), 0, "not valid yet"},
		{fmt.Sprintf(`"exp":%d`, maxDate), 0, ""},
	} {
		now = testNow.Add(c.offset)
		token := hs(t, `{"sub":"alice",`+c.claims+`}`)
		_, err := v.Verify(token)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s at %v: %v", c.claims, c.offset, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s at %v: accepted", c.claims, c.offset)
			continue
		}
		wantRefused(t, err, token, c.want)
	}
}

func TestVerifyIssuerAndAudience(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret, Issuer: "https://id", Audience: "parley"})
	free := newTestVerifier(t, Config{Secret: testSecret})
	for _, c := range []struct{ claims, want string }{
		{`,"iss":"https://id","aud":"parley"`, ""},
		{`,"iss":"https://id","aud":["parley"]`, ""},
		{`,"iss":"https://id","aud":["other","parley"]`, ""},
		{`,"iss":"https://id","aud":["other"]`, "another audience"},
		{`,"iss":"https://id","aud":"Parley"`, "another audience"},
		{`,"iss":"https://id","aud":[]`, "lacks a claim"},
		{`,"iss":"https://id","aud":""`, "lacks a claim"},
		{`,"iss":"https://id"`, "lacks a claim"},
		{`,"aud":"parley"`, "lacks a claim"},
		{`,"iss":"https://id/","aud":"parley"`, "another issuer"},
		{`,"iss":"","aud":"parley"`, "lacks a claim"},
	} {
		token := hs(t, claimsAt(time.Hour, c.claims))
		wantUser(t, free, token, "alice")
		_, err := v.Verify(token)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.claims, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: accepted", c.claims)
			continue
		}
		wantRefused(t, err, token, c.want)
	}
}

// TestVerifyForgeries tries what is known to have worked on other servers.
func TestVerifyForgeries(t *testing.T) {
	claims := claimsAt(time.Hour, "")
	rsaPEM := publicPEM(t, &rsaKey().PublicKey)
	secret := newTestVerifier(t, Config{Secret: testSecret})
	rs := newTestVerifier(t, Config{PublicKeyFile: writeFile(t, rsaPEM)})
	es := newTestVerifier(t, Config{PublicKeyFile: writeFile(t, publicPEM(t, &ecKey().PublicKey))})
	ed := newTestVerifier(t, Config{PublicKeyFile: writeFile(t, publicPEM(t, edKey().Public()))})

	goodHS := hs(t, claims)
	goodRS := sign(t, jwt.SigningMethodRS256, rsaKey(), `{"alg":"RS256"}`, claims)
	goodES := sign(t, jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","kid":"ignored"}`, claims)
	goodEd := sign(t, jwt.SigningMethodEdDSA, edKey(), `{"alg":"EdDSA"}`, claims)
	for v, token := range map[*Verifier]string{secret: goodHS, rs: goodRS, es: goodES, ed: goodEd} {
		wantUser(t, v, token, "alice")
	}

	none := func(alg string) string { return b64(`{"alg":"`+alg+`"}`) + "." + b64(claims) + "." }
	signedByNobody := func(alg string) string { return none(alg) + b64("x") }
	parts := strings.Split(goodHS, ".")
	otherEd := edKey2()
	ownJWK := fmt.Sprintf(`{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"%s"}}`,
		base64.RawURLEncoding.EncodeToString(otherEd.Public().(ed25519.PublicKey)))

	for _, c := range []struct {
		name  string
		v     *Verifier
		token string
		want  string
	}{
		{"alg none", secret, none("none"), "algorithm"},
		{"alg none", rs, none("none"), "algorithm"},
		{"alg None", secret, none("None"), "algorithm"},
		{"alg NONE with a signature", es, signedByNobody("NONE"), "algorithm"},
		{"no alg", secret, b64(`{}`) + "." + b64(claims) + ".", "algorithm"},
		{"alg null", secret, b64(`{"alg":null}`) + "." + b64(claims) + ".", "algorithm"},
		{"alg a number", secret, b64(`{"alg":1}`) + "." + b64(claims) + ".", "algorithm"},
		{"alg empty", secret, none(""), "algorithm"},
		{"the RSA key as a secret", rs, sign(t, jwt.SigningMethodHS256, rsaPEM, `{"alg":"HS256"}`, claims), "algorithm"},
		{"the modulus as a secret", rs, sign(t, jwt.SigningMethodHS256, rsaKey().N.Bytes(), `{"alg":"HS256"}`, claims), "algorithm"},
		{"HS256 body, RS256 header", rs, sign(t, jwt.SigningMethodHS256, rsaPEM, `{"alg":"RS256"}`, claims), "signature"},
		{"PS256", rs, sign(t, jwt.SigningMethodPS256, rsaKey(), `{"alg":"PS256"}`, claims), "algorithm"},
		{"RS512", rs, sign(t, jwt.SigningMethodRS512, rsaKey(), `{"alg":"RS512"}`, claims), "algorithm"},
		{"HS512", secret, sign(t, jwt.SigningMethodHS512, testSecret, `{"alg":"HS512"}`, claims), "algorithm"},
		{"HS384", secret, sign(t, jwt.SigningMethodHS384, testSecret, `{"alg":"HS384"}`, claims), "algorithm"},
		{"another RSA key", rs, sign(t, jwt.SigningMethodRS256, rsaKey2(), `{"alg":"RS256"}`, claims), "signature"},
		{"another Ed25519 key", ed, sign(t, jwt.SigningMethodEdDSA, otherEd, `{"alg":"EdDSA"}`, claims), "signature"},
		{"a key of its own in the header", ed, sign(t, jwt.SigningMethodEdDSA, otherEd, ownJWK, claims), "signature"},
		{"ES256 of zeros", es, b64(`{"alg":"ES256"}`) + "." + b64(claims) + "." + b64(strings.Repeat("\x00", 64)), "signature"},
		{"another secret", secret, sign(t, jwt.SigningMethodHS256, []byte("x"), `{"alg":"HS256"}`, claims), "signature"},
		{"RS256 for a secret", secret, goodRS, "algorithm"},
		{"EdDSA for P-256", es, goodEd, "algorithm"},
		{"ES256 for Ed25519", ed, goodES, "algorithm"},
		{"no signature", secret, parts[0] + "." + parts[1] + ".", "signature"},
		{"half a signature", secret, goodHS[:len(goodHS)-10], ""},
		{"other claims", secret, parts[0] + "." + b64(claimsAt(time.Hour, `,"scope":"admin"`)) + "." + parts[2], "signature"},
		{"other header", secret, b64(`{"alg":"HS256","x":1}`) + "." + parts[1] + "." + parts[2], "signature"},
		{"crit", secret, sign(t, jwt.SigningMethodHS256, testSecret, `{"alg":"HS256","crit":["b64"],"b64":true}`, claims), "extension"},
		{"padding", secret, goodHS + "=", "not a JWT"},
		{"line break", secret, goodHS + "\n", "not a JWT"},
		{"line break inside", secret, parts[0] + "." + parts[1] + ".\n" + parts[2], "not a JWT"},
		{"space", secret, " " + goodHS, "not a JWT"},
		{"not UTF-8", secret, "\xff" + goodHS, "not a JWT"},
		{"two parts", secret, parts[0] + "." + parts[1], "not a JWT"},
		{"four parts", secret, goodHS + ".x", "not a JWT"},
		{"dots", secret, "..", "not a JWT"},
		{"header not JSON", secret, b64("x") + "." + parts[1] + "." + parts[2], "not a JWT"},
		{"nothing", secret, "", "no token"},
		{"huge", secret, strings.Repeat("a", MaxToken+1), "longer than"},
		{"huge and good", secret, hs(t, claimsAt(time.Hour, `,"x":"`+strings.Repeat("x", MaxToken)+`"`)), "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := c.v.Verify(c.token)
			if err == nil {
				t.Fatalf("accepted as %+v", id)
			}
			wantRefused(t, err, c.token, c.want)
		})
	}
}

// TestVerifyOneSpelling: another last character that decodes to the same
// signature is not the same token.
func TestVerifyOneSpelling(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	token := hs(t, claimsAt(time.Hour, ""))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, last := range alphabet {
		other := token[:len(token)-1] + string(last)
		if _, err := v.Verify(other); (err == nil) != (other == token) {
			t.Errorf("%q: %v", last, err)
		}
	}
}

func TestVerifyLongestToken(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	low, high := 0, MaxToken
	for low < high { // the longest that fits
		mid := (low + high + 1) / 2
		if len(hs(t, claimsAt(time.Hour, `,"x":"`+strings.Repeat("x", mid)+`"`))) <= MaxToken {
			low = mid
		} else {
			high = mid - 1
		}
	}
	wantUser(t, v, hs(t, claimsAt(time.Hour, `,"x":"`+strings.Repeat("x", low)+`"`)), "alice")
}

func TestVerifyConcurrently(t *testing.T) {
	v := newTestVerifier(t, Config{Secret: testSecret})
	good, bad := hs(t, claimsAt(time.Hour, "")), hs(t, claimsAt(-time.Hour, ""))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if id, err := v.Verify(good); err != nil || id.UserID != "alice" {
					t.Errorf("good: %+v, %v", id, err)
				}
				if _, err := v.Verify(bad); err == nil {
					t.Error("bad: accepted")
				}
			}
		})
	}
	wg.Wait()
}

func TestNewRefuses(t *testing.T) {
	key := writeFile(t, publicPEM(t, edKey().Public()))
	for _, c := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"nothing", Config{}, []string{"exactly one", "jwt-secret", "jwt-public-key-file", "jwks-url"}},
		{"two", Config{Secret: testSecret, JWKSURL: "http://x"}, []string{"exactly one"}},
		{"two others", Config{PublicKeyFile: key, JWKSURL: "http://x"}, []string{"exactly one"}},
		{"three", Config{Secret: testSecret, PublicKeyFile: key, JWKSURL: "http://x"}, []string{"exactly one"}},
		{"short secret", Config{Secret: testSecret[:31]}, []string{"jwt-secret", "32"}},
		{"no file", Config{PublicKeyFile: key + "x"}, []string{"jwt-public-key-file", key + "x"}},
		{"not a URL", Config{JWKSURL: "http://a b/"}, []string{"jwks-url"}},
		{"no host", Config{JWKSURL: "http:///x"}, []string{"jwks-url"}},
		{"a path", Config{JWKSURL: "keys.json"}, []string{"jwks-url"}},
		{"another scheme", Config{JWKSURL: "file:///etc/passwd"}, []string{"jwks-url"}},
	} {
		v, err := New(t.Context(), c.cfg)
		if err == nil {
			v.Close()
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want %q in it", c.name, err, want)
			}
		}
	}
}

// TestSecretIsCopied: a caller that wipes its secret must not change ours.
func TestSecretIsCopied(t *testing.T) {
	secret := slices.Clone(testSecret)
	v := newTestVerifier(t, Config{Secret: secret})
	clear(secret)
	wantUser(t, v, hs(t, claimsAt(time.Hour, "")), "alice")
}

func FuzzVerify(f *testing.F) {
	v := newTestVerifier(f, Config{Secret: testSecret})
	good := map[string]bool{}
	for _, claims := range []string{
		claimsAt(time.Hour, ""),
		claimsAt(time.Hour, `,"scope":"notify","acl":{"pub":["a/#"],"sub":["+"]}`),
	} {
		token := hs(f, claims)
		good[token] = true
		f.Add(token)
	}
	f.Add(hs(f, claimsAt(-time.Hour, "")))
	f.Add(b64(`{"alg":"none"}`) + "." + b64(`{}`) + ".")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(token)
		if err == nil {
			if !good[token] {
				t.Fatalf("%q is accepted as %+v", token, id)
			}
			return
		}
		wantRefused(t, err, token, "")
	})
}

// FuzzClaims starts behind the signature, where FuzzVerify cannot come.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(claimsAt(time.Hour, `,"scope":"a admin","acl":{"pub":["a/#"],"sub":["+"]},"aud":["x"]`)))
	f.Add([]byte(`{"exp":1e300,"sub":"a","sub":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := claims{raw: raw}
		if err := c.decode(); err != nil {
			wantCode(t, err, chat.CodeUnauthorized)
			return
		}
		if !chat.ValidID(c.subject) || len(c.pub) > maxFilters || len(c.sub) > maxFilters {
			t.Errorf("decoded to %+v", c)
		}
		for _, d := range []*jwt.NumericDate{c.expires, c.notBefore, c.issuedAt} {
			if d != nil && (d.Year() < 1970 || d.Year() > 9999) {
				t.Errorf("a time of %v", d)
			}
		}
		for _, filter := range slices.Concat(c.pub, c.sub) {
			if _, err := chat.ParseFilter(filter); errIsInvalid(err) {
				t.Errorf("filter %q: %v", filter, err)
			}
		}
	})
}

// Without a bound of life nobody needs iat; with one, iat and exp decide.
func TestMaxLife(t *testing.T) {
	free, bounded := newTestVerifier(t, Config{Secret: testSecret}), newTestVerifier(t, Config{Secret: testSecret, MaxLife: time.Hour})
	iat := func(ago time.Duration) string { return fmt.Sprintf(`,"iat":%d`, testNow.Add(-ago).Unix()) }
	for _, tt := range []struct {
		left   time.Duration
		more   string
		refuse string
	}{
		{time.Hour, iat(0), ""}, {time.Minute, iat(59 * time.Minute), ""}, {time.Minute, iat(time.Hour), "lives longer"},
		{time.Hour + time.Second, iat(0), "lives longer"}, {time.Minute, "", "when it was issued"},
	} {
		token := hs(t, claimsAt(tt.left, tt.more))
		wantUser(t, free, token, "alice")
		if tt.refuse == "" {
			wantUser(t, bounded, token, "alice")
			continue
		}
		_, err := bounded.Verify(token)
		wantRefused(t, err, token, tt.refuse)
	}
}

func TestRevoked(t *testing.T) {
	var asked []Identity
	v := newTestVerifier(t, Config{Secret: testSecret, Revoked: func(id *Identity) bool {
		asked = append(asked, *id)
		return id.TokenID == "gone"
	}})
	token := hs(t, claimsAt(time.Hour, `,"jti":"here","iat":1700000000.25`))
	wantUser(t, v, token, "alice")
	if want := time.UnixMilli(1700000000250); len(asked) != 1 || !asked[0].IssuedAt.Equal(want) {
		t.Errorf("asked for %+v", asked)
	}
	token = hs(t, claimsAt(time.Hour, `,"jti":"gone"`))
	_, err := v.Verify(token)
	wantRefused(t, err, token, "revoked")
	asked = nil
	for _, bad := range []string{token + "x", hs(t, claimsAt(-time.Hour, "")), "x"} {
		if _, err := v.Verify(bad); err == nil || len(asked) > 0 {
			t.Errorf("asked for a token that does not hold: %v", err)
		}
	}
}
