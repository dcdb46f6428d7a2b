package wire

// Reason codes of MQTT 5.
const (
	CodeSuccess                byte = 0x00
	CodeGrantedQoS1            byte = 0x01
	CodeGrantedQoS2            byte = 0x02
	CodeDisconnectWithWill     byte = 0x04
	CodeNoMatchingSubscribers  byte = 0x10
	CodeNoSubscriptionExisted  byte = 0x11
	CodeContinueAuthentication byte = 0x18
	CodeReauthenticate         byte = 0x19
	CodeUnspecified            byte = 0x80
	CodeMalformed              byte = 0x81
	CodeProtocolError          byte = 0x82
	CodeImplementationSpecific byte = 0x83
	CodeUnsupportedVersion     byte = 0x84
	CodeClientIDInvalid        byte = 0x85
	CodeBadUserNameOrPassword  byte = 0x86
	CodeNotAuthorized          byte = 0x87
	CodeServerUnavailable      byte = 0x88
	CodeServerBusy             byte = 0x89
	CodeBanned                 byte = 0x8A
	CodeServerShuttingDown     byte = 0x8B
	CodeBadAuthMethod          byte = 0x8C
	CodeKeepAliveTimeout       byte = 0x8D
	CodeSessionTakenOver       byte = 0x8E
	CodeFilterInvalid          byte = 0x8F
	CodeTopicInvalid           byte = 0x90
	CodePacketIDInUse          byte = 0x91
	CodePacketIDNotFound       byte = 0x92
	CodeReceiveMaximum         byte = 0x93
	CodeTopicAliasInvalid      byte = 0x94
	CodeTooLarge               byte = 0x95
	CodeRateTooHigh            byte = 0x96
	CodeQuotaExceeded          byte = 0x97
	CodeAdministrative         byte = 0x98
	CodePayloadInvalid         byte = 0x99
	CodeRetainNotSupported     byte = 0x9A
	CodeQoSNotSupported        byte = 0x9B
	CodeUseAnotherServer       byte = 0x9C
	CodeServerMoved            byte = 0x9D
	CodeSharedNotSupported     byte = 0x9E
	CodeConnectionRate         byte = 0x9F
	CodeMaxConnectTime         byte = 0xA0
	CodeSubIDNotSupported      byte = 0xA1
	CodeWildcardNotSupported   byte = 0xA2
)

// ReturnCode3 turns a reason code into the CONNACK return code of MQTT 3.1.1.
// It is false where 3.1.1 has no code: then the connection is closed without
// a CONNACK.
func ReturnCode3(code byte) (byte, bool) {
	switch code {
	case CodeSuccess:
		return 0, true
	case CodeUnsupportedVersion:
		return 1, true
	case CodeClientIDInvalid:
		return 2, true
	case CodeServerUnavailable, CodeServerBusy, CodeServerShuttingDown, CodeUnspecified,
		CodeImplementationSpecific, CodeQuotaExceeded, CodeConnectionRate:
		return 3, true
	case CodeBadUserNameOrPassword, CodeBadAuthMethod:
		return 4, true
	case CodeNotAuthorized, CodeBanned:
		return 5, true
	}
	return 0, false
}
