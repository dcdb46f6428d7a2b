package limit

import (
	"time"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Bounds are all bounds of the MQTT server. Those up to ChangeRate protect
// the process and are always on: 0 is their default, which stands behind each.
// The others depend on the traffic that is wanted: 0 turns them off.
type Bounds struct {
	ConnectTimeout   time.Duration // from accept to a whole CONNECT, TLS handshake included (10 s)
	MaxConnections   int           // in all (100,000)
	MaxConnectPacket int           // bytes of a CONNECT (16 KiB)
	MaxPacket        int           // bytes of a packet after it (256 KiB)
	MaxSubscriptions int           // filters in one session (1,000)
	ReceiveMaximum   int           // sends that a client may have unacknowledged (256)
	MaxInflight      int           // what is sent to a client and unacknowledged (256)
	MaxTopicLength   int           // bytes of an ordinary topic or filter (1,024, and never more)
	MaxTopicLevels   int           // levels of one (32, and never more)
	ChangeRate       int           // retained messages, and filters taken up or given up, of a connection a second (5,000)

	MaxConnectionsPerAddress int // of one IPv4 address or one IPv6 /64
	MaxConnectionsPerUser    int // of one user
	ConnectRatePerAddress    int // new connections a second
	MaxReconnects            int // connects of one session within 10 s; what is above waits a second

	PublishRate               int // PUBLISH packets and REST sends of a user a second
	PublishBytes              int // bytes of their topics and payloads a second
	PublishRatePerConnection  int // PUBLISH packets of a connection a second
	PublishBytesPerConnection int // bytes of their topics and payloads a second
}

// WithDefaults puts the defaults where a bound that is always on is 0.
func (b Bounds) WithDefaults() Bounds {
	setDefault(&b.ConnectTimeout, 10*time.Second)
	setDefault(&b.MaxConnections, 100_000)
	setDefault(&b.MaxConnectPacket, 16<<10)
	setDefault(&b.MaxPacket, 256<<10)
	setDefault(&b.MaxSubscriptions, 1000)
	setDefault(&b.ReceiveMaximum, 256)
	setDefault(&b.MaxInflight, 256)
	setDefault(&b.MaxTopicLength, chat.MaxTopic)
	setDefault(&b.MaxTopicLevels, chat.MaxTopicLevels)
	setDefault(&b.ChangeRate, 5000)
	return b
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// The bounds by the names of their settings, as metrics and Exceeded have
// them.
const (
	ConnectTimeout            = "connect-timeout"
	MaxConnections            = "max-connections"
	MaxConnectionsPerAddress  = "max-connections-per-address"
	MaxConnectionsPerUser     = "max-connections-per-user"
	ConnectRatePerAddress     = "connect-rate-per-address"
	MaxConnectPacket          = "max-connect-packet"
	MaxPacket                 = "max-packet"
	MaxSubscriptions          = "max-subscriptions"
	ReceiveMaximum            = "receive-maximum"
	MaxTopicLength            = "max-topic-length"
	MaxTopicLevels            = "max-topic-levels"
	PublishRate               = "publish-rate"
	PublishBytes              = "publish-bytes"
	PublishRatePerConnection  = "publish-rate-per-connection"
	PublishBytesPerConnection = "publish-bytes-per-connection"
)

// Names are the bounds that something can be refused for. MaxInflight,
// MaxReconnects and ChangeRate are not among them: what is above them waits.
var Names = []string{ConnectTimeout, MaxConnections, MaxConnectionsPerAddress, MaxConnectionsPerUser,
	ConnectRatePerAddress, MaxConnectPacket, MaxPacket, MaxSubscriptions, ReceiveMaximum, MaxTopicLength,
	MaxTopicLevels, PublishRate, PublishBytes, PublishRatePerConnection, PublishBytesPerConnection}

// Exceeded is the error of somebody who went over a bound.
type Exceeded struct {
	Bound string // the name of the setting
	Text  string // plain English, for the one who is refused
}

func (e *Exceeded) Error() string { return e.Text }

var (
	errAddressConnections = &Exceeded{MaxConnectionsPerAddress, "too many connections from this address"}
	errUserConnections    = &Exceeded{MaxConnectionsPerUser, "too many connections of this user"}
	errConnectRate        = &Exceeded{ConnectRatePerAddress, "too many new connections from this address, try again later"}
	errTopicLength        = &Exceeded{MaxTopicLength, "the topic is longer than the server allows"}
	errTopicLevels        = &Exceeded{MaxTopicLevels, "the topic has more levels than the server allows"}
	errPublish            = [...]*Exceeded{
		{PublishRate, "the user sends more messages a second than allowed"},
		{PublishBytes, "the user sends more bytes a second than allowed"},
		{PublishRatePerConnection, "the connection sends more messages a second than allowed"},
		{PublishBytesPerConnection, "the connection sends more bytes a second than allowed"},
	}
)
