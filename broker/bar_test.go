package broker

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-mqtt/parley/acl"
)

// revoked are the users whose tokens were revoked.
type revoked map[string]bool

func (revoked) Verify(string) (acl.Identity, error) { return acl.Identity{}, errors.New("unused") }
func (r revoked) Revoked(id *acl.Identity) bool     { return r[id.UserID] }

// EndRevoked waits for a connection that is taking entries at that moment.
func TestEndRevokedWaitsForThePump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Broker{cfg: Config{Verifier: revoked{"bob": true}}, conns: map[*conn]struct{}{}}
		b.cfg.Now = time.Now
		take := func(user string) *conn {
			near, far := net.Pipe()
			t.Cleanup(func() { _, _ = near.Close(), far.Close() })
			c := &conn{b: b, nc: near, writing: true, pumping: true}
			c.id.Store(&acl.Identity{UserID: user})
			b.conns[c] = struct{}{}
			return c
		}
		bob, alice := take("bob"), take("alice")
		done := make(chan error, 1)
		go func() { done <- b.EndRevoked(t.Context()) }()
		synctest.Wait()
		if !bob.ending || !bob.barred || alice.ending || alice.barred {
			t.Error("the wrong connections end")
		}
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		bob.mu.Lock()
		bob.rest()
		bob.mu.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
		bob.pumping = true // it hangs
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.EndRevoked(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
