#!/usr/bin/env python3
"""Checks MQTT discovery documents with Home Assistant's own schemas, as its discovery does.

usage: validate.py TOPIC=FILE…

Documents are told from states by their topics. Where the state behind an entity is given, its templates are rendered as
Home Assistant does, and what comes out must be something that the entity can show.

The steps are those of homeassistant.components.mqtt.discovery: the topic must match, abbreviations are expanded, the
device document is checked, shared options are merged into each component, and each is checked by its platform's
DISCOVERY_SCHEMA. Home Assistant drops keys that a platform does not know; here they are errors (PLATFORM_SCHEMA_MODERN).
Exit code 0: all are good. 1: one is not; each problem is a line on stderr.
"""

import importlib
import json
import re
import sys

import voluptuous as vol
from homeassistant.components.mqtt import discovery
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA
from homeassistant.const import __version__
from homeassistant.helpers.template import TemplateEnvironment

COMMON = ("device", "origin")
PREFIX = "homeassistant"
TEMPLATES = TemplateEnvironment(None)


def rendered(template, payload: str) -> str:
    """What Home Assistant makes of a payload."""
    if not template:
        return payload
    try:
        value_json = json.loads(payload)
    except ValueError:
        value_json = None
    return TEMPLATES.from_string(template).render(value=payload, value_json=value_json)


def state_problems(key: str, platform: str, config: dict, states: dict):
    """What an entity would show that it cannot show."""
    for availability in config.get("availability", []):
        if (payload := states.get(availability["topic"])) is not None:
            shown = rendered(availability.get("value_template"), payload)
            if shown not in ("online", "offline"):
                yield f"{key}: availability is {shown!r}"
    if (payload := states.get(config.get("state_topic"))) is None:
        return
    shown = rendered(config.get("value_template"), payload)
    if platform == "binary_sensor":
        good = shown in (config.get("payload_on", "ON"), config.get("payload_off", "OFF"))
    elif platform == "switch":
        good = shown in (config.get("state_on", "ON"), config.get("state_off", "OFF"))
    elif "options" in config:
        good = shown in config["options"]
    elif "state_class" in config:
        good = shown == "None" or re.fullmatch(r"-?[0-9]+([.][0-9]+)?", shown)
    else:
        good = 0 < len(shown) <= 255
    if not good:
        yield f"{key} ({platform}): shows {shown!r} for {payload[:80]!r}"
    if topic := config.get("json_attributes_topic"):
        attributes = rendered(config.get("json_attributes_template"), states.get(topic, "{}"))
        if not isinstance(json.loads(attributes), dict):
            yield f"{key}: attributes are no object: {attributes[:80]!r}"


def problems_of(topic: str, text: bytes, states: dict):
    """Everything that Home Assistant would refuse or silently drop in one document."""
    trimmed = topic.removeprefix(f"{PREFIX}/")
    match = discovery.TOPIC_MATCHER.match(trimmed)
    if not match or not topic.startswith(f"{PREFIX}/") or match.group(1) != "device":
        yield "is no topic for device discovery"
        return
    try:
        document = discovery.MQTTDiscoveryPayload(json.loads(text))
    except ValueError as error:
        yield f"is no JSON object: {error}"
        return
    discovery._replace_all_abbreviations(document)
    try:
        DEVICE_DISCOVERY_SCHEMA(document)
    except vol.Invalid as error:
        yield f"device document: {error}"
        return
    shared = {key: value for key, value in document.items() if key not in ("components", *COMMON)}
    unique = set()
    for key, component in document["components"].items():
        # As async_discovery_message_received does for each component.
        config = discovery.MQTTDiscoveryPayload(component)
        platform = config.pop("platform")
        discovery._merge_common_device_options(config, shared)
        for common in COMMON:
            config[common] = document[common]
        module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
        for name in ("DISCOVERY_SCHEMA", "PLATFORM_SCHEMA_MODERN"):
            try:
                getattr(module, name)(dict(config))
            except vol.Invalid as error:
                yield f"{key} ({platform}, {name}): {error}"
        yield from state_problems(key, platform, config, states)
        identity = (platform, config["unique_id"])
        if identity in unique:
            yield f"{key}: unique_id {config['unique_id']} is used twice"
        unique.add(identity)
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", key):
            yield f"{key}: is no id for a component"
        for field, value in config.items():
            if field.endswith("_topic") and ("+" in value or "#" in value):
                yield f"{key}.{field}: {value} is no single topic"


def main(arguments) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    documents, states, bad = [], {}, 0
    for argument in arguments:
        topic, _, path = argument.rpartition("=")
        with open(path, "rb") as file:
            text = file.read()
        if topic.startswith(f"{PREFIX}/"):
            documents.append((topic, text))
        else:
            states[topic] = text.decode()
    for topic, text in documents:
        for problem in problems_of(topic, text, states):
            print(f"{topic}: {problem}", file=sys.stderr)
            bad += 1
    print(f"Home Assistant {__version__}: {len(documents)} documents, {bad} problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
