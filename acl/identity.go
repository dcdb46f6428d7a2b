// Package acl says who a token is, and what that identity may do with a topic.
//
// A Verifier turns a JSON Web Token (RFC 7519) into an Identity. The guards of
// an Identity, MayPublish and MaySubscribe, are pure: they read the identity
// and the topic and nothing else. Whether somebody is a member of a
// conversation is not decided here but where it is true, in the log.
//
// The package keeps no state but the keys that it fetched from a JWKS endpoint.
package acl

import "time"

// Scopes is the set of scopes of a token.
type Scopes uint8

// The scopes. Any other word in the scope claim grants nothing.
const (
	Notify Scopes = 1 << iota // create notifications for others
	Admin                     // everything in REST, and subscription to every stream
)

// Identity is what a token says of its bearer. It is not changed once made and
// is safe for concurrent use. The guards refuse everything to the zero
// Identity.
type Identity struct {
	// UserID is the sub claim. It holds chat.ValidID.
	UserID string
	// Expires is the exp claim. It may lie up to 5 s in the past, because the
	// clocks of issuer and server need not agree. The guards do not look at it:
	// whoever holds the connection ends it then.
	Expires time.Time
	// IssuedAt is the iat claim, or the zero time.
	IssuedAt time.Time
	// TokenID is the jti claim, or "".
	TokenID string
	// Scopes is the set of known scopes.
	Scopes Scopes
	// Pub and Sub are the filters of the acl claim. They are well formed, at
	// most 100 each, and count for ordinary topics alone.
	Pub, Sub []string
}

// Has reports whether the identity has all of the scopes. Admin includes every
// other scope.
func (id *Identity) Has(scopes Scopes) bool {
	return id.Scopes&Admin != 0 || scopes != 0 && id.Scopes&scopes == scopes
}
