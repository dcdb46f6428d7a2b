"""One client of paho-mqtt, told what to do by lines of JSON on stdin. See
external_test.go."""

import json
import ssl
import sys
import threading
import urllib.parse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

LIMIT = 20  # seconds that an answer may take

lock = threading.Lock()


def say(line):
    with lock:  # messages come on the library's own thread
        print(json.dumps(line), flush=True)


def answer(**fields):
    say({"reply": {"code": 0, **fields}})


def number(code):
    """The value of a reason code, whatever the version has for it."""
    return getattr(code, "value", code)


class Client:
    def __init__(self):
        self.client = None
        self.version = 0
        self.acks = {}  # what the server said, by packet identifier
        self.changed = threading.Condition()

    def acked(self, mid, code):
        with self.changed:
            self.acks[mid] = code
            self.changed.notify_all()

    def wait(self, mid):
        with self.changed:
            if not self.changed.wait_for(lambda: mid in self.acks, LIMIT):
                raise TimeoutError("the server did not answer")
            return self.acks.pop(mid)

    def properties(self, packet, message):
        if self.version < 5:
            return None
        p = Properties(packet)
        if message.get("contentType"):
            p.ContentType = message["contentType"]
        if message.get("responseTopic"):
            p.ResponseTopic = message["responseTopic"]
        if message.get("correlation"):
            p.CorrelationData = message["correlation"].encode()
        for pair in message.get("user") or []:
            p.UserProperty = tuple(pair)
        return p

    def received(self, client, userdata, m):
        p = getattr(m, "properties", None)
        say({"message": {
            "topic": m.topic, "payload": m.payload.decode(), "qos": m.qos, "retain": bool(m.retain),
            "contentType": getattr(p, "ContentType", ""),
            "responseTopic": getattr(p, "ResponseTopic", ""),
            "correlation": getattr(p, "CorrelationData", b"").decode(),
            "user": getattr(p, "UserProperty", []),
        }})

    def connect(self, c):
        self.version = c["version"]
        v5 = self.version == 5
        clean = {} if v5 else {"clean_session": not c["durable"]}
        self.client = mqtt.Client(c["id"], protocol=mqtt.MQTTv5 if v5 else mqtt.MQTTv311, reconnect_on_failure=False, **clean)
        self.client.username_pw_set(c["userName"], c["token"])
        if c.get("ca"):
            self.client.tls_set_context(ssl.create_default_context(cadata=c["ca"]))
        will = c.get("will")
        if will:
            self.client.will_set(will["topic"], will["payload"], will["qos"], will["retain"],
                                 self.properties(PacketTypes.WILLMESSAGE, will))
        self.client.on_message = self.received
        self.client.on_connect = lambda client, userdata, flags, rc, *more: self.acked(0, (flags, number(rc)))
        self.client.on_subscribe = lambda client, userdata, mid, codes, *more: self.acked(mid, number(codes[0]))
        self.client.on_unsubscribe = lambda client, userdata, mid, *more: self.acked(mid, 0)
        more = {}
        if v5:
            more["clean_start"] = not c["durable"]
            if c["durable"]:
                more["properties"] = Properties(PacketTypes.CONNECT)
                more["properties"].SessionExpiryInterval = 3600
        at = urllib.parse.urlsplit(c["url"])
        self.client.connect(at.hostname, at.port, keepalive=60, **more)
        self.client.loop_start()
        flags, code = self.wait(0)
        answer(code=code, present=bool(flags["session present"]))

    def subscribe(self, c):
        _, mid = self.client.subscribe(c["filter"], c["qos"])
        answer(code=self.wait(mid))

    def unsubscribe(self, c):
        _, mid = self.client.unsubscribe(c["filter"])
        self.wait(mid)
        answer()

    def publish(self, c):
        m = c["message"]
        info = self.client.publish(m["topic"], m["payload"], m["qos"], m["retain"], self.properties(PacketTypes.PUBLISH, m))
        info.wait_for_publish(LIMIT)
        if not info.is_published():
            raise TimeoutError("the server did not acknowledge")
        answer()

    def disconnect(self, c):
        self.client.disconnect()
        self.client.loop_stop()
        answer()


def main():
    client = Client()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            getattr(client, command["do"])(command)
        except Exception as e:
            answer(error=repr(e))


main()
