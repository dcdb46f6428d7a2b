/* Stands in for esp-mqtt on a machine with sockets: as much of it as the ESP32
 * page uses, over TCP alone, in MQTT 3.1.1. Then main, which stands in for the
 * rest of the device: it reads commands from the standard input. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "esp_crt_bundle.h"
#include "mqtt_client.h"

enum { OUTBOX = 16, PACKET = 4096 };

struct esp_mqtt_client {
    esp_mqtt_client_config_t config;
    esp_event_handler_t handler;
    int fd, connected, next_id;
    unsigned char in[PACKET];
    int have;
    struct {
        int id, length; /* id 0: free */
        unsigned char packet[PACKET];
    } outbox[OUTBOX];
};

static struct esp_mqtt_client only;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void tell(esp_mqtt_event_t e)
{
    e.client = &only;
    only.handler(NULL, "MQTT_EVENTS", e.event_id, &e);
}

static void put(const unsigned char *packet, int length)
{
    if (only.connected && send(only.fd, packet, length, MSG_NOSIGNAL) != length) {
        only.connected = 0; /* the loop sees the end of the connection */
    }
}

static unsigned char *text(unsigned char *p, const char *s, int length)
{
    *p++ = length >> 8, *p++ = length & 255;
    memcpy(p, s, length);
    return p + length;
}

/* frame writes a packet with what begins at body, and gives its length. */
static int frame(unsigned char *out, int first, const unsigned char *body, int length)
{
    unsigned char *p = out;
    *p++ = first;
    int rest = length;
    do {
        *p++ = (rest & 127) | (rest > 127 ? 128 : 0);
    } while (rest >>= 7);
    memcpy(p, body, length);
    return p - out + length;
}

esp_err_t esp_crt_bundle_attach(void *conf)
{
    (void)conf;
    return 0;
}

esp_err_t esp_mqtt_set_config(esp_mqtt_client_handle_t client, const esp_mqtt_client_config_t *config)
{
    client->config = *config;
    return 0;
}

esp_mqtt_client_handle_t esp_mqtt_client_init(const esp_mqtt_client_config_t *config)
{
    esp_mqtt_set_config(&only, config);
    return &only;
}

esp_err_t esp_mqtt_client_register_event(esp_mqtt_client_handle_t client, esp_mqtt_event_id_t event,
                                         esp_event_handler_t handler, void *arg)
{
    (void)event, (void)arg;
    client->handler = handler;
    return 0;
}

esp_err_t esp_mqtt_client_start(esp_mqtt_client_handle_t client)
{
    client->fd = -1;
    return 0;
}

static int new_id(void)
{
    return only.next_id = only.next_id % 65535 + 1;
}

int esp_mqtt_client_subscribe_single(esp_mqtt_client_handle_t client, const char *topic, int qos)
{
    unsigned char body[PACKET], packet[PACKET], *p = body;
    int id = new_id();
    (void)client;
    *p++ = id >> 8, *p++ = id & 255;
    p = text(p, topic, strlen(topic));
    *p++ = qos;
    put(packet, frame(packet, 0x82, body, p - body));
    return id;
}

int esp_mqtt_client_enqueue(esp_mqtt_client_handle_t client, const char *topic, const char *data, int len, int qos,
                            int retain, bool store)
{
    unsigned char body[PACKET], *p = text(body, topic, strlen(topic));
    (void)qos, (void)retain, (void)store;
    len = len ? len : (int)strlen(data);
    for (int i = 0; i < OUTBOX; i++) {
        if (client->outbox[i].id == 0) {
            int id = client->outbox[i].id = new_id();
            *p++ = id >> 8, *p++ = id & 255;
            memcpy(p, data, len);
            client->outbox[i].length = frame(client->outbox[i].packet, 0x32, body, p - body + len);
            put(client->outbox[i].packet, client->outbox[i].length);
            return id;
        }
    }
    return -2;
}

static void dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    char host[64];
    int port;
    if (sscanf(getenv("CHAT_MQTT"), "%63[^:]:%d", host, &port) != 2) {
        die("CHAT_MQTT");
    }
    to.sin_port = htons(port);
    inet_pton(AF_INET, host, &to.sin_addr);
    only.fd = socket(AF_INET, SOCK_STREAM, 0);
    only.have = 0;
    tell((esp_mqtt_event_t){.event_id = MQTT_EVENT_BEFORE_CONNECT});
    if (connect(only.fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(only.fd);
        only.fd = -1;
        return;
    }
    const esp_mqtt_client_config_t *c = &only.config;
    const char *password = c->credentials.authentication.password;
    unsigned char body[PACKET], packet[PACKET], *p = text(body, "MQTT", 4);
    *p++ = c->session.protocol_ver == MQTT_PROTOCOL_V_3_1_1 ? 4 : 0;
    *p++ = 0xC0 | (c->session.disable_clean_session ? 0 : 2);
    *p++ = c->session.keepalive >> 8, *p++ = c->session.keepalive & 255;
    p = text(p, c->credentials.client_id, strlen(c->credentials.client_id));
    p = text(p, c->credentials.username, strlen(c->credentials.username));
    p = text(p, password, strlen(password));
    only.connected = 1;
    put(packet, frame(packet, 0x10, body, p - body));
    only.connected = 0; /* until CONNACK */
}

static void accepted(int code)
{
    if (code != 0) {
        esp_mqtt_error_codes_t why = {MQTT_ERROR_TYPE_CONNECTION_REFUSED};
        tell((esp_mqtt_event_t){.event_id = MQTT_EVENT_ERROR, .error_handle = &why});
        return;
    }
    only.connected = 1;
    tell((esp_mqtt_event_t){.event_id = MQTT_EVENT_CONNECTED});
    for (int i = 0; i < OUTBOX; i++) {
        if (only.outbox[i].id != 0) {
            put(only.outbox[i].packet, only.outbox[i].length);
        }
    }
}

static void published(unsigned char *body, int length, int qos)
{
    int topic_len = body[0] << 8 | body[1];
    unsigned char *p = body + 2 + topic_len, ack[] = {0x40, 2, 0, 0};
    if (qos > 0) {
        ack[2] = *p++, ack[3] = *p++;
    }
    int data_len = length - (p - body);
    int shown = data_len < only.config.buffer.size ? data_len : only.config.buffer.size; /* the first part of more */
    tell((esp_mqtt_event_t){.event_id = MQTT_EVENT_DATA, .topic = (char *)body + 2, .topic_len = topic_len,
                            .data = (char *)p, .data_len = shown, .total_data_len = data_len});
    if (qos > 0) {
        put(ack, sizeof ack);
    }
}

static void received(int first, unsigned char *body, int length)
{
    int id = length >= 2 ? body[0] << 8 | body[1] : 0;
    switch (first >> 4) {
    case 2:
        accepted(body[1]);
        break;
    case 3:
        published(body, length, first >> 1 & 3);
        break;
    case 4:
        for (int i = 0; i < OUTBOX; i++) {
            if (only.outbox[i].id == id) {
                only.outbox[i].id = 0;
            }
        }
        tell((esp_mqtt_event_t){.event_id = MQTT_EVENT_PUBLISHED, .msg_id = id});
        break;
    case 9:
        puts(length == 3 && body[2] < 0x80 ? "subscribed" : "not subscribed");
        break;
    }
}

static void hear(void)
{
    int n = recv(only.fd, only.in + only.have, PACKET - only.have, 0);
    if (n <= 0) {
        close(only.fd);
        only.fd = -1, only.connected = 0;
        return;
    }
    only.have += n;
    for (;;) {
        int length = 0, at = 1, shift = 0;
        do {
            if (at >= only.have) {
                return;
            }
            length |= (only.in[at] & 127) << shift, shift += 7;
        } while (only.in[at++] & 128);
        if (at + length > only.have) {
            return;
        }
        received(only.in[0], only.in + at, length);
        only.have -= at + length;
        memmove(only.in, only.in + at + length, only.have);
    }
}

/* What the page leaves to the device. */

const char *load_token(bool fresh)
{
    static char token[2048];
    FILE *f = fopen(fresh ? "token.fresh" : "token", "r");
    if (fresh && f != NULL) {
        puts("a fresh token");
    }
    if (f == NULL && (f = fopen("token", "r")) == NULL) {
        die("token");
    }
    if (fscanf(f, "%2047s", token) != 1) {
        die("token");
    }
    fclose(f);
    return token;
}

long load_seen(void)
{
    long seq = 0;
    FILE *f = fopen("seen", "r");
    if (f != NULL) {
        if (fscanf(f, "%ld", &seq) != 1) {
            die("seen");
        }
        fclose(f);
    }
    return seq;
}

void store_seen(long seq)
{
    FILE *f = fopen("seen", "w");
    if (f == NULL || fprintf(f, "%ld", seq) < 0 || fclose(f) != 0) {
        die("seen");
    }
}

void handle(const char *entry)
{
    puts(entry);
}

int say(esp_mqtt_client_handle_t client, uint32_t reading, int degrees);
esp_mqtt_client_handle_t parley_start(void);

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    esp_mqtt_client_handle_t client = parley_start();
    char line[1024];
    for (int at = 0;;) {
        if (only.fd < 0) {
            dial();
        }
        struct pollfd fds[] = {{.fd = 0, .events = POLLIN}, {.fd = only.fd, .events = POLLIN}};
        if (poll(fds, 2, only.fd < 0 ? 100 : -1) < 0 && errno != EINTR) {
            die("poll");
        }
        if (fds[1].revents) {
            hear();
        }
        if (fds[0].revents) {
            unsigned reading;
            int degrees, n = read(0, line + at, 1);
            if (n <= 0) {
                return 0;
            }
            if (line[at] != '\n') {
                at++;
                continue;
            }
            line[at] = 0, at = 0;
            if (sscanf(line, "say %u %d", &reading, &degrees) == 2) {
                say(client, reading, degrees);
            } else {
                esp_mqtt_client_enqueue(client, "chat/kitchen/messages", line, 0, 1, 0, true);
            }
        }
    }
}
