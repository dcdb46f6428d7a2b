package broker

import (
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// reasons is the one table from error codes to MQTT 5 reason codes. They all
// may stand in PUBACK, PUBREC and SUBACK, but for PayloadInvalid in SUBACK.
var reasons = map[chat.Code]byte{
	chat.CodeInvalid:      wire.CodePayloadInvalid,
	chat.CodeForbidden:    wire.CodeNotAuthorized,
	chat.CodeNotFound:     wire.CodePayloadInvalid,
	chat.CodeConflict:     wire.CodePayloadInvalid,
	chat.CodeRateLimited:  wire.CodeQuotaExceeded,
	chat.CodeUnavailable:  wire.CodeImplementationSpecific,
	chat.CodeInternal:     wire.CodeUnspecified,
	chat.CodeUnauthorized: wire.CodeNotAuthorized,
}

// reason is the reason code of an error that may be shown.
func reason(code chat.Code) byte {
	if r, ok := reasons[code]; ok {
		return r
	}
	return wire.CodeUnspecified
}
