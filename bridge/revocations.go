package bridge

import (
	"context"
	"time"
)

// Revocations is the part of a Store that keeps which tokens are revoked. Its
// verbs obey the rules of Store, errors included.
type Revocations interface {
	// Revoke keeps a revocation; its N is the store's to give. Of two with
	// the same Kind and Value one is kept, with the later At and the later
	// Until, and with a new N.
	Revoke(ctx context.Context, r Revocation) error
	// Revoked answers the revocations with after < N, in order of N, at most
	// limit of them. One that is committed later has a higher N, so that who
	// asks again with the last N misses none.
	Revoked(ctx context.Context, after uint64, limit int) ([]Revocation, error)
	// SweepRevocations removes at most limit revocations whose Until has
	// passed at now, and says how many it removed.
	SweepRevocations(ctx context.Context, now time.Time, limit int) (int, error)
}

// RevocationKind says what a Revocation names.
type RevocationKind uint8

// The kinds. Their numbers are kept in the databases.
const (
	RevokedToken RevocationKind = 1 // a jti
	RevokedUser  RevocationKind = 2 // a sub: what was issued up to At
)

// Revocation says that tokens do not hold any more.
type Revocation struct {
	N     uint64
	Kind  RevocationKind
	Value string // any bytes
	At    time.Time
	Until time.Time // how long it is kept; zero: for ever
}
