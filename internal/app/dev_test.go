package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A token by name is one that the server takes, and holds no longer than a
// token may.
func TestDevLogin(t *testing.T) {
	o := testOptions(t)
	o.DevLogin, o.MaxTokenLife, o.JWTIssuer, o.JWTAudience = true, 5*time.Minute, "us", "them"
	a := start(t, o)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + a.HTTPAddr() + "/v1"
	resp, err := client.Post(url+"/dev/token", "application/json", strings.NewReader(`{"sub": "root", "scope": "admin"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Token     string
		ExpiresAt time.Time
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %d, %v", resp.StatusCode, err)
	}
	if left := time.Until(got.ExpiresAt); left > 5*time.Minute || left < 4*time.Minute {
		t.Errorf("it holds for %v", left)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/admin/connections", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+got.Token)
	used, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer used.Body.Close()
	if used.StatusCode != http.StatusOK {
		t.Errorf("the token is answered with %d", used.StatusCode)
	}
}

func TestDevLoginIsOff(t *testing.T) {
	a := start(t, testOptions(t))
	if status, _ := get(t, a, "/v1/dev"); status != http.StatusNotFound {
		t.Errorf("got %d", status)
	}
	if status, _ := get(t, a, "/"); status != http.StatusOK {
		t.Errorf("the app: got %d", status)
	}
}
