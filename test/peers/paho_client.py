"""paho-mqtt, which nobody here wrote, against a broker: prints a line for each thing that works.

usage: paho_client.py HOST PORT 3.1|3.1.1|5 tcp|websockets [CAFILE]
"""
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, VERSION, TRANSPORT = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
CAFILE = sys.argv[5] if len(sys.argv) > 5 else None
PROTOCOL = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}[VERSION]
V5 = PROTOCOL == paho.MQTTv5
PATIENCE = 20  # seconds, for whatever does not come


class Client:
    """A paho client that collects what happens to it; every wait is for an event."""

    def __init__(self, client_id="", clean=True, will=None):
        options = {} if V5 else {"clean_session": clean}
        self.paho = paho.Client(client_id, protocol=PROTOCOL, transport=TRANSPORT, **options)
        self.clean = clean
        self.changed = threading.Condition()
        self.messages, self.subacks, self.acked = [], [], set()
        self.order = []
        self.flags = None
        self.gone = False
        self.paho.max_queued_messages_set(0)
        if CAFILE:
            self.paho.tls_set(CAFILE)
        if TRANSPORT == "websockets":
            self.paho.ws_set_options(path="/mqtt")
        if will:
            self.paho.will_set(*will)
        self.paho.on_connect = lambda _c, _u, flags, *_: self.tell(lambda: setattr(self, "flags", flags))
        self.paho.on_disconnect = lambda *_: self.tell(lambda: setattr(self, "gone", True))
        self.paho.on_publish = lambda _c, _u, mid: self.tell(lambda: self.acked.add(mid))
        self.paho.on_message = lambda _c, _u, message: self.tell(lambda: self.took(message))
        self.paho.on_subscribe = lambda _c, _u, mid, granted, *_: self.tell(lambda: self.granted(granted))

    def tell(self, change):
        with self.changed:
            change()
            self.changed.notify_all()

    def took(self, message):
        self.messages.append(message)
        self.order.append("message")

    def granted(self, codes):
        self.subacks.append([getattr(code, "value", code) for code in codes])
        self.order.append("suback")

    def until(self, done, what):
        with self.changed:
            if not self.changed.wait_for(done, PATIENCE):
                raise SystemExit(f"waited in vain for {what}; {len(self.messages)} messages came")

    def connect(self):
        options = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else 300
            options = {"clean_start": self.clean, "properties": properties}
        self.paho.connect(HOST, PORT, keepalive=30, **options)
        self.paho.loop_start()
        self.until(lambda: self.flags is not None, "CONNACK")
        return self

    def subscribe(self, filters, qos):
        count = len(self.subacks)
        if V5:
            self.paho.subscribe([(name, paho.SubscribeOptions(qos=qos)) for name in filters])
        else:
            self.paho.subscribe([(name, qos) for name in filters])
        self.until(lambda: len(self.subacks) > count, "SUBACK")
        return self.subacks[-1]

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.paho.publish(topic, payload, qos, retain, properties)
        self.until(lambda: info.mid in self.acked, f"the acknowledgement of {topic}")

    def take(self, count):
        self.until(lambda: len(self.messages) >= count, f"{count} messages")
        with self.changed:
            taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    def disconnect(self):
        self.paho.disconnect()
        self.until(lambda: self.gone, "the end of the connection")
        self.paho.loop_stop()

    def cut(self):
        """Ends the connection without DISCONNECT, and does not come back."""
        self.paho.loop_stop()
        sock = self.paho.socket()
        sock.close()


def check(what, condition):
    if not condition:
        raise SystemExit(f"failed: {what}")


def payloads(client):
    for qos in (0, 1, 2):
        check("granted", client.subscribe([f"in/{qos}"], qos) == [qos])
        for size in (0, 1, 1024, 200 * 1024):
            payload = bytes(at % 251 for at in range(size))
            client.publish(f"in/{qos}", payload, qos)
            [message] = client.take(1)
            check(f"QoS {qos}, {size} bytes", message.payload == payload and message.qos == qos and not message.retain)
    print("payloads")


def retained(client):
    client.publish("kept/a", "1", 1, True)
    client.publish("kept/a", "2", 1, True)
    client.subscribe(["kept/#"], 1)
    [message] = client.take(1)
    check("retained", (message.payload, message.retain) == (b"2", True))
    client.publish("kept/a", "", 1, True)
    client.take(1)
    print("retained")


def burst(client):
    """Home Assistant's way: hundreds of filters in one packet, then the whole retained burst."""
    names = [f"homeassistant/sensor/{at:04}/config" for at in range(2000)]
    for name in names:
        client.paho.publish(name, name * 20, 1, True)
    client.publish("homeassistant/done", "", 1)
    watcher = Client("watcher").connect()
    codes = watcher.subscribe(names[:500], 1)
    check("500 filters in one SUBSCRIBE", codes == [1] * 500)
    check("their retained messages", sorted(message.topic for message in watcher.take(500)) == names[:500])
    watcher.disconnect()
    home = Client("homeassistant").connect()
    home.subscribe(["homeassistant/+/+/config"], 0)
    came = home.take(2000)
    check("the whole burst", sorted(message.topic for message in came) == names)
    check("whole messages", all(message.payload == (message.topic * 20).encode() for message in came))
    check("SUBACK first", home.order[0] == "suback")
    home.disconnect()
    print("burst")


def wills(client):
    client.subscribe(["will/#"], 2)
    polite = Client("polite", will=("will/polite", "x", 1, False)).connect()
    polite.disconnect()
    device = Client("device", will=("will/device", "gone", 2, True)).connect()
    device.cut()
    [message] = client.take(1)
    check("will", (message.topic, message.payload, message.qos) == ("will/device", b"gone", 2))
    print("wills")


def sessions(client):
    first = Client("kept", clean=False).connect()
    first.subscribe(["queue/#"], 2)
    first.disconnect()
    for at in range(50):
        client.publish(f"queue/{at}", str(at), 1 + at % 2)
    again = Client("kept", clean=False).connect()
    if VERSION != "3.1":
        check("session present", again.flags["session present"] == 1)
    came = again.take(50)
    for qos in (1, 2):
        numbers = [int(message.payload) for message in came if message.qos == qos]
        check(f"QoS {qos} in order", numbers == [at for at in range(50) if 1 + at % 2 == qos])
    again.disconnect()
    print("sessions")


def volume(client):
    """Apart, since paho 1.6 takes each QoS 2 message that comes in for one of its own that is over."""
    subscriber = Client("subscriber").connect()
    subscriber.subscribe(["volume"], 2)
    for at in range(3000):
        client.paho.publish("volume", str(at), at % 3)
    came = subscriber.take(3000)
    for qos in (0, 1, 2):
        numbers = [int(message.payload) for message in came if message.qos == qos]
        check(f"3000 messages, QoS {qos}", numbers == [at for at in range(3000) if at % 3 == qos])
    subscriber.disconnect()
    print("volume")


def properties(client):
    sent = Properties(PacketTypes.PUBLISH)
    sent.ContentType = "text/plain"
    sent.ResponseTopic = "answers"
    sent.CorrelationData = b"\x00\xff"
    sent.PayloadFormatIndicator = 1
    sent.UserProperty = [("a", "1"), ("b", "2"), ("a", "3")]
    client.subscribe(["properties"], 1)
    client.publish("properties", "x", 1, False, sent)
    [message] = client.take(1)
    got = message.properties
    check("user properties in order", got.UserProperty == sent.UserProperty)
    check("content type", got.ContentType == "text/plain" and got.ResponseTopic == "answers")
    check("correlation data", got.CorrelationData == b"\x00\xff" and got.PayloadFormatIndicator == 1)
    print("properties")


def main():
    client = Client("main").connect()
    for scenario in (payloads, retained, burst, wills, sessions, volume):
        scenario(client)
    if V5:
        properties(client)
    client.disconnect()
    print("done")


main()
