package app

import (
	"context"

	"github.com/parley-mqtt/parley/api"
	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker"
)

// connections shows the broker's connections to the API. The two do not know
// each other.
type connections struct{ broker *broker.Broker }

func (c connections) List(user, client string, after bridge.SessionKey, limit int) ([]api.Connection, bridge.SessionKey) {
	found, next := c.broker.Connections(user, client, after, limit)
	list := make([]api.Connection, len(found))
	for i := range found {
		list[i] = api.Connection(found[i])
	}
	return list, next
}

func (c connections) Get(key bridge.SessionKey) (api.Connection, bool) {
	found, ok := c.broker.Connection(key)
	return api.Connection(found), ok
}

func (c connections) Disconnect(key bridge.SessionKey) bool { return c.broker.Disconnect(key) }

func (c connections) EndSession(ctx context.Context, key bridge.SessionKey) (bool, error) {
	return c.broker.EndSession(ctx, key)
}
