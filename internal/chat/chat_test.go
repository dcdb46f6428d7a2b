package chat

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestValidID(t *testing.T) {
	contract := regexp.MustCompile(`^[A-Za-z0-9_.@:-]{1,64}$`)
	list := []string{"", "a", "alice@example.com", "urn:x:1", "A_b-C.9", strings.Repeat("x", 64), strings.Repeat("x", 65), "zoë", "a\n"}
	for c := range 256 {
		list = append(list, string([]byte{byte(c)}), "a"+string([]byte{byte(c)})+"b")
	}
	for _, s := range list {
		// In Go $ does not match before a line feed at the end.
		if got, want := ValidID(s), contract.MatchString(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

func TestStreamID(t *testing.T) {
	if s := ConversationStream("c1"); s != "c/c1" || s.Conversation() != "c1" {
		t.Errorf("got %q", s)
	}
	for _, s := range []StreamID{NotificationStream("alice"), "", "c/", "c"} {
		if s.Conversation() != "" {
			t.Errorf("%q is taken for a conversation", s)
		}
	}
}

func TestNames(t *testing.T) {
	for _, role := range []Role{RoleMember, RoleAdmin, RoleOwner} {
		if got, err := ParseRole(role.String()); err != nil || got != role {
			t.Errorf("%v: got %v, %v", role, got, err)
		}
	}
	if got, err := ParseRole(""); err != nil || got != RoleMember || RoleNone.String() != "" {
		t.Errorf("no role: %v, %v", got, err)
	}
	_, err := ParseRole("Owner")
	wantRefusal(t, err, CodeInvalid, "role")
	if Type(99).String() != "unknown" || Role(99).String() != "unknown" {
		t.Error("unknown numbers must have a name")
	}
	if got := goldenEntries()["message"].ID.String(); got != "01923f5e-6c00-7abc-8def-0001020304ff" {
		t.Error(got)
	}
}

func TestErrors(t *testing.T) {
	targets := map[Code]*Error{CodeInvalid: ErrInvalid, CodeForbidden: ErrForbidden, CodeNotFound: ErrNotFound,
		CodeConflict: ErrConflict, CodeRateLimited: ErrRateLimited, CodeUnavailable: ErrUnavailable}
	for _, code := range Codes {
		err := fmt.Errorf("wrapped: %w", Errorf(code, "why %d", 7))
		e, ok := AsError(err)
		if !ok || e.Code != code || e.Message != "why 7" || e.Error() != "why 7" {
			t.Errorf("%s: got %+v, %v", code, e, ok)
		}
		for other, target := range targets {
			if errors.Is(err, target) != (code == other) {
				t.Errorf("%s is %s", code, other)
			}
		}
	}
	if got := Invalid("content", "is longer than %d bytes", 5).Error(); got != "content: is longer than 5 bytes" {
		t.Error(got)
	}
	e, ok := AsError(errors.New("dial tcp: secret"))
	if ok || e.Code != CodeInternal || strings.Contains(e.Error(), "secret") {
		t.Errorf("got %+v, %v", e, ok)
	}
	if errors.Is(Errorf(CodeInvalid, "a"), Errorf(CodeInvalid, "b")) {
		t.Error("errors with different texts are the same")
	}
}
