"""A client as its users write one: Eclipse Paho, MQTT 5. One line of JSON on stdout for each message.

  paho_client.py PORT subscribe FILTER [--until TOPIC-END --count N]
      subscribes, and prints {"subscribed": true}, then {"topic", "payload", "retain", "qos"} for each message;
      ends after N messages whose topic holds TOPIC-END, or when it is killed.
  paho_client.py PORT request TOPIC [--timeout S] < payload
      publishes stdin with a response topic and correlation data of its own, and prints the reply
      {"topic", "payload", "correlated"}. Exit code 3: no reply in time, 4: the broker refused the request.

The payload is text where it is UTF-8, else {"base64": …}.
"""

import argparse
import base64
import json
import queue
import secrets
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def say(**words):
    print(json.dumps(words), flush=True)


def text(payload):
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(payload).decode()}


def connect(port, on_message, on_connect):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{secrets.token_hex(4)}", protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.on_connect = on_connect
    client.connect("127.0.0.1", port, keepalive=30, clean_start=True)
    return client


def subscribe(args):
    found = 0

    def on_connect(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            sys.exit(f"the broker refuses: {reason}")
        client.subscribe(args.topic, qos=1)

    def on_message(client, _userdata, message):
        nonlocal found
        say(topic=message.topic, payload=text(message.payload), retain=message.retain, qos=message.qos)
        found += args.until is not None and args.until in message.topic
        if args.count and found >= args.count:
            client.disconnect()

    client = connect(args.port, on_message, on_connect)
    client.on_subscribe = lambda *_: say(subscribed=True)
    client.loop_forever()


def request(args):
    response_topic = f"paho/reply/{secrets.token_hex(8)}"
    correlation = secrets.token_bytes(16)
    answers = queue.Queue()
    ready = queue.Queue()

    def on_connect(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            sys.exit(f"the broker refuses: {reason}")
        client.subscribe(response_topic, qos=1)

    client = connect(args.port, lambda _c, _u, message: answers.put(message), on_connect)
    client.on_subscribe = lambda *_: ready.put(True)
    client.loop_start()
    ready.get(timeout=args.timeout)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = response_topic
    properties.CorrelationData = correlation
    sent = client.publish(args.topic, sys.stdin.buffer.read(), qos=1, properties=properties)
    sent.wait_for_publish(args.timeout)
    if sent.rc != mqtt.MQTT_ERR_SUCCESS:
        sys.exit(4)
    try:
        answer = answers.get(timeout=args.timeout)
    except queue.Empty:
        print(f"no reply on {response_topic} within {args.timeout} s", file=sys.stderr)
        sys.exit(3)
    correlated = getattr(answer.properties, "CorrelationData", None) == correlation
    say(topic=answer.topic, payload=text(answer.payload), correlated=correlated)
    client.disconnect()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("what", choices=["subscribe", "request"])
    parser.add_argument("topic")
    parser.add_argument("--until")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=30)
    args = parser.parse_args()
    subscribe(args) if args.what == "subscribe" else request(args)


if __name__ == "__main__":
    main()
