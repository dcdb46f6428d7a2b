package app

import (
	"math"
	"time"

	"github.com/parley-mqtt/parley/broker/limit"
	"github.com/parley-mqtt/parley/internal/chat"
)

// LimitOptions are the bounds of what clients may do. A user's are over all of
// its connections, and for publish-rate and publish-bytes over REST too. A
// rate allows a burst of one second. The fields are those of limit.Bounds.
type LimitOptions struct {
	ConnectTimeout   time.Duration `name:"connect-timeout" placeholder:"TIME" default:"10s" help:"How long a client may take to its CONNECT, TLS handshake included. Default: ${default}."`
	MaxConnections   int           `name:"max-connections" placeholder:"N" default:"100000" help:"MQTT connections in all. Default: ${default}."`
	MaxConnectPacket int           `name:"max-connect-packet" placeholder:"BYTES" default:"16384" help:"Size of a CONNECT packet. Default: ${default}."`
	MaxPacket        int           `name:"max-packet" placeholder:"BYTES" default:"262144" help:"Size of any packet after it. Default: ${default}."`
	MaxSubscriptions int           `name:"max-subscriptions" placeholder:"N" default:"1000" help:"Filters in one session. Default: ${default}."`
	ReceiveMaximum   int           `name:"receive-maximum" placeholder:"N" default:"256" help:"QoS 1 and 2 messages that a client may send without an acknowledgement. Default: ${default}."`
	MaxInflight      int           `name:"max-inflight" placeholder:"N" default:"256" help:"QoS 1 and 2 messages that are sent to a client without its acknowledgement. Default: ${default}."`
	MaxTopicLength   int           `name:"max-topic-length" placeholder:"BYTES" default:"1024" help:"Length of ordinary topics and filters, at most 1024. Default: ${default}."`
	MaxTopicLevels   int           `name:"max-topic-levels" placeholder:"N" default:"32" help:"Levels of ordinary topics and filters, at most 32. Default: ${default}."`

	ChangeRate int `name:"change-rate" placeholder:"N" default:"5000" help:"Retained messages, and filters subscribed to or given up, of one connection a second; what is above waits. Default: ${default}."`

	MaxConnectionsPerAddress int `name:"max-connections-per-address" placeholder:"N" help:"MQTT connections from one IPv4 address or one IPv6 /64; 0 is no limit. Default: 0."`
	MaxConnectionsPerUser    int `name:"max-connections-per-user" placeholder:"N" help:"MQTT connections of one user; 0 is no limit. Default: 0."`
	ConnectRatePerAddress    int `name:"connect-rate-per-address" placeholder:"N" help:"New MQTT connections a second from one IPv4 address or one IPv6 /64; 0 is no limit. Default: 0."`
	MaxReconnects            int `name:"max-reconnects" placeholder:"N" default:"5" help:"How often one session may connect within 10 seconds; each connect above that is held back a second; 0 is no limit. Default: ${default}."`

	PublishRate               int `name:"publish-rate" placeholder:"N" help:"Messages a second of one user; 0 is no limit. Default: 0."`
	PublishBytes              int `name:"publish-bytes" placeholder:"BYTES" help:"Bytes a second of one user; 0 is no limit. Default: 0."`
	PublishRatePerConnection  int `name:"publish-rate-per-connection" placeholder:"N" help:"Messages a second of one connection; 0 is no limit. Default: 0."`
	PublishBytesPerConnection int `name:"publish-bytes-per-connection" placeholder:"BYTES" help:"Bytes a second of one connection; 0 is no limit. Default: 0."`
}

const (
	// largestPacket is the most that MQTT can say, with its fixed header.
	largestPacket = 268_435_455 + 5
	// smallestPacket leaves room for a CONNECT with a token.
	smallestPacket = 1024
	// mostPackets is how many packet identifiers there are.
	mostPackets = math.MaxUint16
	// mostInflight is half of that: streams and ordinary topics have one half
	// each.
	mostInflight = math.MaxInt16
)

// Validate checks that each limit is one.
func (o *LimitOptions) Validate() error {
	if o.ConnectTimeout <= 0 {
		return wrong("connect-timeout", "must be more than 0, is %v", o.ConnectTimeout)
	}
	const most = math.MaxInt32
	for _, l := range []struct {
		name           string
		n, least, most int
	}{
		{limit.MaxConnections, o.MaxConnections, 1, most},
		{limit.MaxConnectPacket, o.MaxConnectPacket, smallestPacket, largestPacket},
		{limit.MaxPacket, o.MaxPacket, smallestPacket, largestPacket},
		{limit.MaxSubscriptions, o.MaxSubscriptions, 1, most},
		{limit.ReceiveMaximum, o.ReceiveMaximum, 1, mostPackets},
		{"max-inflight", o.MaxInflight, 1, mostInflight},
		{limit.MaxTopicLength, o.MaxTopicLength, 1, chat.MaxTopic},
		{limit.MaxTopicLevels, o.MaxTopicLevels, 1, chat.MaxTopicLevels},
		{"change-rate", o.ChangeRate, 1, most},
		{limit.MaxConnectionsPerAddress, o.MaxConnectionsPerAddress, 0, most},
		{limit.MaxConnectionsPerUser, o.MaxConnectionsPerUser, 0, most},
		{limit.ConnectRatePerAddress, o.ConnectRatePerAddress, 0, most},
		{"max-reconnects", o.MaxReconnects, 0, most},
		{limit.PublishRate, o.PublishRate, 0, most},
		{limit.PublishBytes, o.PublishBytes, 0, most},
		{limit.PublishRatePerConnection, o.PublishRatePerConnection, 0, most},
		{limit.PublishBytesPerConnection, o.PublishBytesPerConnection, 0, most},
	} {
		if l.n < l.least || l.n > l.most {
			return wrong(l.name, "must be from %d to %d, is %d", l.least, l.most, l.n)
		}
	}
	return nil
}
