package api

import (
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Signer makes a token of a user, with scope "" or "admin", and says when it
// ends.
type Signer func(user, scope string) (token string, expires time.Time, err error)

const (
	devPath      = "/v1/dev"
	devTokenPath = "/v1/dev/token"
	maxDevBody   = 1 << 10
	adminScope   = "admin"
)

// dev is sign-in by name, for trying the server out. GET /v1/dev says whether
// it is offered to who asks; POST /v1/dev/token gives a token. Both are there
// for this machine alone; all others get the 404 of a path that is not there,
// and so does everybody while it is off.
func (s *server) dev(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !below(devPath, r.URL.Path):
			next.ServeHTTP(w, r)
		case s.signIn == nil || !fromHere(r):
			notFound(w, r)
		case r.URL.Path == devPath && r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == devTokenPath && r.Method == http.MethodPost && saysJSON(r.Header):
			s.signInByName(w, r)
		default:
			notFound(w, r)
		}
	})
}

// below says whether a path is the other or lies below it.
func below(other, path string) bool {
	return path == other || strings.HasPrefix(path, other+"/")
}

// forwarded are headers that proxies write. Behind a proxy on this machine
// every stranger looks as if it were here.
var forwarded = []string{"Forwarded", "X-Real-Ip", "Via"}

const forwardedPrefix = "X-Forwarded-"

// fromHere says whether a request comes from this machine, with no proxy
// between, from no page but our own. A page elsewhere that has its name lead
// here gives itself away by the Host, one that asks across origins by the
// Origin.
func fromHere(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || !isLoopback(local.String()) || !isLoopback(r.RemoteAddr) || !isLocalName(r.Host) {
		return false
	}
	for _, name := range forwarded {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	for name := range r.Header {
		if strings.HasPrefix(name, forwardedPrefix) {
			return false
		}
	}
	origins, ok := r.Header["Origin"]
	if !ok {
		return true
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return len(origins) == 1 && origins[0] == scheme+r.Host
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// saysJSON keeps out the forms that a foreign page can send without asking.
func saysJSON(h http.Header) bool {
	media, _, err := mime.ParseMediaType(h.Get(contentType))
	return err == nil && media == mediaJSON
}

type devToken struct {
	Token     string `json:"token"`
	ExpiresAt string `json:"expiresAt"`
}

func (s *server) signInByName(w http.ResponseWriter, r *http.Request) {
	user, scope, err := readName(w, r)
	var out devToken
	if err == nil {
		var expires time.Time
		out.Token, expires, err = s.signIn(user, scope)
		out.ExpiresAt = stamp(expires)
	}
	if err != nil {
		writeProblem(w, s.refuse(r.Context(), err))
		return
	}
	w.Header().Set(contentType, mediaJSON)
	_ = json.NewEncoder(w).Encode(out) // a client that has gone is no news
}

func readName(w http.ResponseWriter, r *http.Request) (user, scope string, err error) {
	body, err := readBody(w, r, maxDevBody)
	if err == nil {
		err = checkJSON(body)
	}
	if err != nil {
		return "", "", err
	}
	var in map[string]json.RawMessage // exact keys
	if err := json.Unmarshal(body, &in); err != nil {
		return "", "", chat.Invalid(wholePayload, "must be a JSON object")
	}
	for key, value := range in {
		into := map[string]*string{"sub": &user, "scope": &scope}[key]
		if into == nil {
			return "", "", chat.Invalid(wholePayload, "knows the keys sub and scope")
		}
		if json.Unmarshal(value, into) != nil {
			return "", "", chat.Invalid(key, "must be a text")
		}
	}
	if !chat.ValidID(user) {
		return "", "", chat.Invalid("sub", "must be 1 to %d characters of A-Z a-z 0-9 _ . @ : -", chat.MaxID)
	}
	if scope != "" && scope != adminScope {
		return "", "", chat.Invalid("scope", "must be %q or left out", adminScope)
	}
	return user, scope, nil
}
