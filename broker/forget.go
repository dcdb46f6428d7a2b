package broker

import (
	"context"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
)

// EndUser ends the connections of a user, and publishes none of their wills.
// MQTT 5 clients are told 0x98 (administrative action). It returns when nothing
// of them runs any more.
func (b *Broker) EndUser(ctx context.Context, user string) error {
	var ended []*conn
	for _, c := range b.registry.all() {
		if c.key.UserID == user {
			c.forgotten.Store(true)
			c.end(wire.CodeAdministrative, "the user was erased")
			ended = append(ended, c)
		}
	}
	for _, c := range ended {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ForgetUser removes the durable sessions of a user, with all that waits for
// them, and what the user has published on ordinary topics. It says how many
// sessions those were. The user's tokens must not hold any more, and EndUser
// have ended its connections.
func (b *Broker) ForgetUser(ctx context.Context, user string) (sessions int, err error) {
	const page = 100
	b.live.Forget(user)
	for {
		keys, err := b.log.SessionKeys(ctx, user, "", page)
		if err != nil {
			return sessions, err
		}
		for _, key := range keys {
			if err := b.forgetSession(ctx, key); err != nil {
				return sessions, err
			}
			sessions++
		}
		if len(keys) < page {
			return sessions, b.router.ForgetUser(ctx, user)
		}
	}
}

func (b *Broker) forgetSession(ctx context.Context, key bridge.SessionKey) error {
	b.registry.forget(key)
	if err := b.router.End(ctx, key); err != nil {
		return err
	}
	return b.log.DeleteSession(ctx, key)
}

// forget gives up what is remembered of a session that is away.
func (r *registry) forget(key bridge.SessionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(key)
}
