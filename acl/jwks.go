package acl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-mqtt/parley/internal/chat"
)

// The bounds of fetching keys.
const (
	fetchTimeout  = 5 * time.Second  // from the request to the end of the body
	fetchBytes    = 1 << 20          // the body
	fetchKeys     = 64               // in a set; the rest is left out
	fetchEvery    = 5 * time.Minute  // while all is well
	fetchGap      = 10 * time.Second // between fetches that strangers can cause
	firstRetry    = time.Second      // after a failure; doubles
	lastRetry     = 30 * time.Second
	fetchRedirect = 3
)

// Errors of the key function. They are shared: nobody may change them.
var (
	errUnknownKey = unauthorized("the token's key is not known")
	errKeyAlg     = unauthorized("the token's algorithm does not fit its key")
	errNoKeys     = chat.Errorf(chat.CodeUnavailable, "the keys of the tokens cannot be fetched yet; try again")
)

// jwksCache keeps the keys of one JWKS endpoint (RFC 7517).
//
// It stands in for the client of jwkset, on which keyfunc builds, and takes
// only the reading of a key from there. That client makes every token with an
// unknown kid wait for one shared rate limiter and then fetch by itself, drops
// all keys when the endpoint answers "{}", refuses a whole set for one bad
// key, does not try again for an hour after a start without the endpoint, and
// reads a body without end.
//
// Here one goroutine fetches. Verifying reads the last good set through an
// atomic pointer, so that neither a slow endpoint nor a stranger with unknown
// kids delays a token whose key is known.
type jwksCache struct {
	url    string
	shown  string // the URL as logs have it, without query and password
	client *http.Client
	log    *slog.Logger

	ctx    context.Context // ends the goroutine
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended
	wake   chan struct{} // a fetch is wanted before its time

	set atomic.Pointer[keySet] // nil until the first good answer

	mu    sync.Mutex
	round chan struct{} // closed at the end of the fetch under way; nil when none is
	began time.Time     // when the last fetch was asked for or began

	skipped int // keys left out of the last good set; the goroutine's own
}

// keySet is one good answer. It is never changed.
type keySet struct {
	kids map[string]bool
	keys map[keyID]jwt.VerificationKeySet
	size int
}

// keyID names the keys to try for a token. With kid "" they are all of the
// algorithm's.
type keyID struct{ kid, alg string }

// newTransport is made for one fetch now and then: a kept connection would
// only go stale.
func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // somebody has replaced it
		return http.DefaultTransport
	}
	t = t.Clone()
	t.DisableKeepAlives = true
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}

func newJWKS(ctx context.Context, address string, rt http.RoundTripper, log *slog.Logger) (*jwksCache, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("jwks-url: must be an http or https URL")
	}
	ctx, cancel := context.WithCancel(ctx)
	j := &jwksCache{
		url:    address,
		shown:  u.Scheme + "://" + u.Host + u.Path,
		client: &http.Client{Transport: rt, CheckRedirect: checkRedirect},
		log:    log,
		ctx:    ctx,
		cancel: cancel,
		ended:  make(chan struct{}),
		wake:   make(chan struct{}, 1),
		round:  make(chan struct{}), // tokens that come first wait for the first fetch
		began:  time.Now(),
	}
	go j.run()
	return j, nil
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > fetchRedirect {
		return errors.New("too many redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirected from https to http")
	}
	return nil
}

// close may be called more than once, from several goroutines.
func (j *jwksCache) close() {
	j.cancel()
	<-j.ended
}

func (j *jwksCache) run() {
	defer close(j.ended)
	defer j.cancel() // lets go of those who wait
	failures := 0
	for {
		j.startRound()
		err := j.fetch()
		j.endRound()
		if j.ctx.Err() != nil {
			return
		}
		wait := fetchEvery
		if err != nil {
			wait = min(firstRetry<<min(failures, 10), lastRetry)
			failures++
			j.log.Warn("JWKS: keys not fetched", "url", j.shown, "error", err, "retry", wait)
		} else if failures > 0 {
			failures = 0
			j.log.Info("JWKS: keys fetched again", "url", j.shown)
		}
		timer := time.NewTimer(wait)
		select {
		case <-j.ctx.Done():
		case <-timer.C:
		case <-j.wake:
		}
		timer.Stop()
		if j.ctx.Err() != nil {
			return
		}
	}
}

func (j *jwksCache) startRound() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.round == nil {
		j.round = make(chan struct{})
	}
	j.began = time.Now()
	select { // this fetch is the one that was asked for
	case <-j.wake:
	default:
	}
}

func (j *jwksCache) endRound() {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.round)
	j.round = nil
}

// demand asks for a fetch on behalf of a token that nothing is known of. It
// returns a channel that is closed when the fetch has ended, or nil when the
// last one is too recent: however many strangers ask, the endpoint sees one
// request in fetchGap, and they are refused at once.
func (j *jwksCache) demand() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.round == nil {
		if time.Since(j.began) < fetchGap {
			return nil
		}
		j.round = make(chan struct{})
		j.began = time.Now()
		j.wake <- struct{}{} // has room: it is emptied before a round can end
	}
	return j.round
}

// keyfunc finds the keys to try for a token. Its errors are *chat.Error.
func (j *jwksCache) keyfunc(t *jwt.Token) (any, error) {
	id := keyID{alg: t.Method.Alg()}
	if raw, ok := t.Header["kid"]; ok {
		if id.kid, ok = raw.(string); !ok {
			return nil, errUnknownKey
		}
	}
	set := j.set.Load()
	if set == nil || id.kid != "" && !set.kids[id.kid] {
		done := j.demand()
		if done == nil {
			return nil, set.missing()
		}
		select {
		case <-done:
		case <-j.ctx.Done():
		}
		set = j.set.Load()
	}
	if set == nil {
		return nil, set.missing()
	}
	if keys, ok := set.keys[id]; ok {
		return keys, nil
	}
	if id.kid == "" || set.kids[id.kid] {
		return nil, errKeyAlg
	}
	return nil, set.missing()
}

// missing tells a bad token from one that cannot be judged yet.
func (s *keySet) missing() error {
	if s == nil {
		return errNoKeys
	}
	return errUnknownKey
}

// fetch gets the set once. When it fails the keys stay what they were.
func (j *jwksCache) fetch() error {
	ctx, cancel := context.WithTimeout(j.ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := j.client.Do(req)
	if err != nil {
		var where *url.Error // its text has the whole URL
		if errors.As(err, &where) {
			err = where.Err
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the endpoint answered with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchBytes+1))
	if err != nil {
		return err
	}
	if len(body) > fetchBytes {
		return fmt.Errorf("the key set is longer than %d bytes", fetchBytes)
	}
	set, skipped, err := parseKeySet(body)
	if err != nil {
		return err
	}
	if old := j.set.Load(); old == nil || skipped != j.skipped {
		j.log.Info("JWKS: keys fetched", "url", j.shown, "keys", set.size, "unusable", skipped)
	}
	j.skipped = skipped
	j.set.Store(set)
	return nil
}

// parseKeySet reads a JWK Set, RFC 7517 clause 5. Keys that are not for us
// (another kind, for encryption, malformed) are left out, as the RFC advises.
// A set without one usable key is an error: an endpoint that lost its keys
// must not log everybody out.
func parseKeySet(body []byte) (set *keySet, skipped int, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return nil, 0, errors.New("the answer is not a JWK Set")
	}
	set = &keySet{kids: map[string]bool{}, keys: map[keyID]jwt.VerificationKeySet{}}
	for i, raw := range doc.Keys {
		if i == fetchKeys {
			skipped += len(doc.Keys) - i
			break
		}
		kid, key, err := parseJWK(raw)
		if err != nil {
			skipped++
			continue
		}
		set.add(keyID{"", key.alg}, key)
		if kid != "" {
			set.kids[kid] = true
			set.add(keyID{kid, key.alg}, key)
		}
		set.size++
	}
	if set.size == 0 {
		return nil, skipped, fmt.Errorf("the key set has no usable key (%d unusable)", skipped)
	}
	return set, skipped, nil
}

func (s *keySet) add(id keyID, key publicKey) {
	s.keys[id] = jwt.VerificationKeySet{Keys: append(s.keys[id].Keys, key.key)}
}

// parseJWK reads one key, RFC 7517 clause 4. Symmetric and private parts are
// not read, and no x5u is fetched.
func parseJWK(raw json.RawMessage) (kid string, key publicKey, err error) {
	jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return "", publicKey{}, err
	}
	meta := jwk.Marshal()
	if key, err = newPublicKey(jwk.Key()); err != nil {
		return "", publicKey{}, err
	}
	switch {
	case meta.USE != "" && meta.USE != jwkset.UseSig,
		len(meta.KEYOPS) > 0 && !slices.Contains(meta.KEYOPS, jwkset.KeyOpsVerify):
		return "", publicKey{}, errors.New("the key is not for signatures")
	case meta.ALG != "" && string(meta.ALG) != key.alg:
		return "", publicKey{}, errors.New("the key is for another algorithm")
	}
	return meta.KID, key, nil
}

// CheckJWKS fetches the keys of an endpoint once, as a Verifier does, and
// answers how many of them can be used and how many cannot.
func CheckJWKS(ctx context.Context, address string) (usable, unusable int, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, 0, errors.New("jwks-url: must be an http or https URL")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := &jwksCache{url: u.String(), client: &http.Client{Transport: newTransport(), CheckRedirect: checkRedirect},
		log: slog.New(slog.DiscardHandler), ctx: ctx}
	if err := j.fetch(); err != nil {
		return 0, 0, err
	}
	return j.set.Load().size, j.skipped, nil
}

// CheckPublicKey reads a PEM file as a Verifier does, and answers the
// algorithm of its key.
func CheckPublicKey(path string) (alg string, err error) {
	key, err := loadPublicKey(path)
	return key.alg, err
}
