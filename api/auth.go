package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

type callerKey struct{}

// bearerOf is the value of callerKey.
type bearerOf struct {
	acl.Identity
	verifier Verifier
}

// caller is who asks. Without a token that holds there is none: the answer is
// then an error, so that an operation that was registered past the check
// refuses instead of serving a stranger. The token may have been revoked while
// the body of the request was on its way.
func caller(ctx context.Context) (acl.Identity, error) {
	b, ok := ctx.Value(callerKey{}).(*bearerOf)
	switch {
	case !ok:
		return acl.Identity{}, chat.Errorf(chat.CodeUnauthorized, "a bearer token is required")
	case b.verifier.Revoked(&b.Identity):
		return acl.Identity{}, chat.Errorf(chat.CodeUnauthorized, "the token was revoked")
	}
	return b.Identity, nil
}

// actor is the caller as the log's rules see it. Scope admin stands above all
// roles.
func actor(ctx context.Context) (bridge.Actor, error) {
	id, err := caller(ctx)
	return bridge.Actor{UserID: id.UserID, Admin: id.Has(acl.Admin)}, err
}

// administrator is the caller, who must have scope admin.
func administrator(ctx context.Context) (acl.Identity, error) {
	id, err := caller(ctx)
	if err == nil && !id.Has(acl.Admin) {
		err = chat.Errorf(chat.CodeForbidden, "this wants a token with scope admin")
	}
	return id, err
}

// authenticate wants a bearer token (RFC 6750 clause 2.1) for everything below
// /v1 but the OpenAPI document. Paths that do not exist want one too: a
// stranger learns nothing from them.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !belowV1(r.URL.Path) || r.URL.Path == openAPIPath {
			next.ServeHTTP(w, r)
			return
		}
		token, err := bearer(r.Header)
		var id acl.Identity
		if err == nil {
			id, err = s.verifier.Verify(token)
		}
		if err != nil {
			p := s.refuse(r.Context(), err)
			if p.Status == http.StatusUnauthorized {
				challenge := `Bearer realm="parley"`
				if token != "" {
					challenge += `, error="invalid_token"`
				}
				w.Header().Set("WWW-Authenticate", challenge)
			}
			writeProblem(w, p)
			return
		}
		ctx := context.WithValue(r.Context(), callerKey{}, &bearerOf{id, s.verifier})
		if seen, ok := ctx.Value(requestKey{}).(*request); ok {
			seen.user = id.UserID
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// bearer takes the token out of the Authorization header. A token in the URL
// is not looked for: URLs end up in logs.
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", chat.Errorf(chat.CodeUnauthorized, "a bearer token is required")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", chat.Errorf(chat.CodeUnauthorized, "the Authorization header must be \"Bearer\" and one token")
	}
	return token, nil
}
