package app

import "time"

// PresenceOptions say when somebody counts as present.
type PresenceOptions struct {
	PresenceGrace time.Duration `name:"presence-grace" placeholder:"TIME" default:"2s" help:"How long a user counts as present after a connection was lost, so that a reconnect shows as nothing; up to 1m. Default: ${default}."`
}

// Validate checks the time.
func (o *PresenceOptions) Validate() error {
	if o.PresenceGrace <= 0 || o.PresenceGrace > time.Minute {
		return wrong("presence-grace", "must be more than 0 and at most 1m, is %v", o.PresenceGrace)
	}
	return nil
}
