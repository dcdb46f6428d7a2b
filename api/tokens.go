package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/parley-mqtt/parley/internal/chat"
)

// Tokens revokes tokens. Each answers when the revocation is stored, holds
// everywhere in this process, and nothing is delivered any more to who lives
// by what it names. *revoke.Tokens has it.
type Tokens interface {
	Token(ctx context.Context, jti string) error
	User(ctx context.Context, sub string) error
}

// maxTokenID bounds a jti that is revoked, in bytes.
const maxTokenID = 256

type revokeIn struct {
	Body struct {
		Sub identifier `json:"sub,omitempty" doc:"The user: every token of the user that was issued up to now, or that does not say when." example:"bob"`
		JTI string     `json:"jti,omitempty" doc:"The jti of one token: up to 256 bytes." example:"5ZQ6V3DPLEAWHH4VXBYQ3M7TKI"`
	} `nameHint:"Revocation"`
}

func (s *server) tokenOperations(api huma.API) {
	register(s, api, operation{
		id: "revoke", method: post, path: "/v1/tokens/revoke", tag: "Administration",
		summary: "Revoke a token, or all tokens of a user",
		description: "For scope `admin`. Exactly one of `sub` and `jti`. From the answer on the tokens are refused everywhere, " +
			"and nothing more is written to the MQTT connections that live by them: they end, in MQTT 5 with 0x87. " +
			"Tokens of the user that are issued later hold. Asking again does no harm.",
		request: jsonRequest("What is revoked.", map[string]any{"sub": "bob"}),
		answers: []answer{{status: http.StatusNoContent, description: "It is revoked."}},
		errors:  []chat.Code{chat.CodeForbidden, chat.CodeRateLimited},
		body:    s.jsonBody(maxBody),
	}, s.revoke)
}

func (s *server) revoke(ctx context.Context, in *revokeIn) (*struct{}, error) {
	who, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	sub, jti := string(in.Body.Sub), in.Body.JTI
	switch {
	case sub == "" && jti == "":
		return nil, chat.Invalid("sub", "or jti must be there")
	case sub != "" && jti != "":
		return nil, chat.Invalid("jti", "must not stand beside sub")
	case len(jti) > maxTokenID:
		return nil, chat.Invalid("jti", "is longer than %d bytes", maxTokenID)
	case sub != "":
		err = s.tokens.User(ctx, sub)
	default:
		err = s.tokens.Token(ctx, jti)
	}
	if err != nil {
		return nil, err
	}
	s.logger.InfoContext(ctx, "tokens revoked", "user", sub, "jti", jti, "by", who.UserID)
	return nil, nil
}
