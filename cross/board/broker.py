"""The broker on the host that the board talks to, and all that was said there: Mosquitto and its own clients."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time

from guest import GuestError, eventually


class Message:
    """What one subscriber saw: `at` by the monotonic clock, the topic, the payload (JSON where it is some)."""

    def __init__(self, at, topic, payload):
        self.at, self.topic = at, topic
        try:
            self.payload = json.loads(payload)
        except ValueError:
            self.payload = payload

    def __repr__(self):
        return f"{self.topic} {json.dumps(self.payload)}"


class Broker:
    """Mosquitto on a free port of loopback, and a subscriber to everything. A context manager."""

    def __init__(self, run):
        self.run = run
        self.messages = []
        self._changed = threading.Condition()
        for tool in ("mosquitto", "mosquitto_sub", "mosquitto_pub"):
            # Debian keeps the broker where users do not look.
            if shutil.which(tool) is None and shutil.which(f"/usr/sbin/{tool}") is None:
                raise GuestError(f"{tool} is not installed: run cross/packages.sh board")

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = self.run / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nlog_type all\nlog_dest stderr\n")
        self._log = open(self.run / "mosquitto.log", "wb")
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._broker = subprocess.Popen([program, "-c", config], stderr=self._log)
        try:
            eventually("mosquitto listens", 20, self._listens)
            self._subscriber = subprocess.Popen(
                ["mosquitto_sub", "-p", str(self.port), "-V", "5", "-q", "1", "-t", "#", "-F", "%j"],
                stdout=subprocess.PIPE, stderr=self._log, text=True)
        except BaseException:
            self._broker.kill()
            raise
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_):
        for process in (self._subscriber, self._broker):
            process.terminate()
            process.wait()
        (self.run / "messages.log").write_text("".join(f"{m.at:.3f} {m}\n" for m in self.messages))

    def mark(self):
        """The number of messages so far: `expect` can be told to look at later ones only."""
        return len(self.messages)

    def expect(self, what, topic, timeout_s, wanted=lambda _: True, since=0):
        """The first message after `since` on a topic that matches, with a payload that is wanted; waits for it."""
        pattern = re.compile(topic)
        deadline = time.monotonic() + timeout_s
        position = since
        with self._changed:
            while True:
                while position < len(self.messages):
                    message = self.messages[position]
                    position += 1
                    if pattern.fullmatch(message.topic) and wanted(message.payload):
                        return message
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = [m for m in self.messages[since:] if pattern.fullmatch(m.topic)]
                    last = f"the last one there: {seen[-1]}" if seen else "nothing came there"
                    raise GuestError(f"{what}: not within {timeout_s} s on {topic}; {last}")
                self._changed.wait(left)

    def all(self, topic):
        """Every message so far on topics that match."""
        pattern = re.compile(topic)
        return [m for m in list(self.messages) if pattern.fullmatch(m.topic)]

    def publish_retained(self, topic, text):
        """Publishes as anybody would, at least once."""
        subprocess.run(
            ["mosquitto_pub", "-p", str(self.port), "-V", "5", "-q", "1", "-r", "-t", topic, "-s"],
            input=text, text=True, check=True, timeout=30)

    def _listens(self):
        if self._broker.poll() is not None:
            raise GuestError(f"mosquitto ended with {self._broker.returncode}: see {self.run}/mosquitto.log")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _read(self):
        for line in self._subscriber.stdout:
            seen = json.loads(line)
            with self._changed:
                self.messages.append(Message(time.monotonic(), seen["topic"], seen.get("payload", "")))
                self._changed.notify_all()
