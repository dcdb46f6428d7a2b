package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/parley-mqtt/parley/client"
)

func ExampleConnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{
		URL:   "http://localhost:8080",
		Token: client.StaticToken(os.Getenv("TOKEN")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()
	sent, err := c.Send(ctx, "c1", client.Draft{Content: "hello"})
	fmt.Println(sent.Seq, err)
}

func ExampleClient_Events() {
	var c *client.Client // see Connect
	for ev := range c.Events() {
		switch ev := ev.(type) {
		case client.Entry:
			if ev.Type == client.TypeMessage {
				fmt.Printf("%s in %s: %s\n", ev.SenderID, ev.ConversationID, ev.Content)
			}
		case client.Typing:
			fmt.Println(ev.UserID, "types:", ev.Typing)
		case client.Gap:
			fmt.Println("load", ev.ConversationID, "anew")
		case client.Status:
			fmt.Println("the link is", ev.State)
		}
	}
	fmt.Println("ended:", c.Err())
}

func ExampleClient_Send() {
	var c *client.Client // see Connect
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The same ClientID again gives the first message again, in this process
	// or the next one.
	sent, err := c.Send(ctx, "c1", client.Draft{Content: "paid", ClientID: "order-17-paid"})
	switch {
	case errors.Is(err, client.ErrForbidden):
		fmt.Println("not a member")
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("not known: send it again with the same ClientID")
	case err == nil:
		fmt.Println("committed as", sent.Seq)
	}
}

func ExampleOpenOutbox() {
	outbox, err := client.OpenOutbox("outbox") // for one client at a time
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := client.New(client.Options{
		URL:    "https://chat.example.com",
		Token:  func(ctx context.Context) (string, error) { return askMyBackend(ctx) },
		Outbox: outbox, // what was not sent when the process died is sent now
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()
}

func askMyBackend(context.Context) (string, error) { return "", errors.New("there is none") }
