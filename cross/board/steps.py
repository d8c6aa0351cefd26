"""What a board must do once the package is there: the steps of `make board-test`, in their order.

Each step looks from outside: at the broker, at the service manager, at the packages. What it measures goes into
`test.figures`.
"""

import array
import json
import math
import pathlib
import re
import time
import wave

from guest import GuestError, eventually

HERE = pathlib.Path(__file__).parent
ROOT = "aimass/v1/test/board"
VERSION_PUSHED = 7
# Emulated vector arithmetic makes one inference take a quarter of a minute. The limits are for what hangs.
SLOW_S = 300
# Of the levels that the agent writes, as syslog numbers them.
PRIORITIES = {"ERROR": "3", "WARN": "4", "INFO": "6", "DEBUG": "7", "TRACE": "7"}


class Test:
    """What the steps share."""

    def __init__(self, board, broker, share, packages, microphone):
        self.board, self.broker, self.share, self.packages = board, broker, share, packages
        self.microphone = microphone
        self.figures = {}
        self.boot = None

    def show(self, what):
        """A property of the service."""
        return self.board.sh(f"systemctl show -P {what} aimass-agent").strip()

    def online(self, timeout_s, since=0):
        """Waits for a life of the agent that was not seen before; returns the message."""
        message = self.broker.expect("a new life of the agent is online", f"{ROOT}/status", timeout_s,
                                     lambda s: s["state"] == "online" and s["boot"] != self.boot, since)
        self.boot = message.payload["boot"]
        return message


def boots(test):
    seconds = test.board.wait_until_up()
    test.figures["boot of the bare board, power on to the last unit"] = f"{seconds:.0f} s"
    for device in ("/dev/video0", "/dev/snd/pcmC0D0p", "/dev/snd/pcmC0D1c"):
        test.board.sh(f"test -c {device}")


def installs(test):
    names = " ".join(f"/host/{path.name}" for path in test.packages)
    test.board.sh("apt-get update", 120)
    before = set(installed(test))
    began = time.monotonic()
    test.board.sh(f"apt-get install -y {names}", 400)
    test.figures["apt install, dependencies included"] = f"{time.monotonic() - began:.0f} s"
    new = {name: size for name, size in installed(test).items() if name not in before}
    ours = {name: new.pop(name) for name in list(new) if name.startswith("aimass-")}
    if "aimass-agent" not in ours:
        raise GuestError("apt says that all is well, and aimass-agent is not installed")
    for path in test.packages:
        name = path.name.split("_")[0]
        test.figures[f"package {name}"] = f"{path.stat().st_size / 1e6:.1f} MB, installed {ours[name] * 1024 / 1e6:.1f} MB"
    test.figures["installed with it: " + ", ".join(sorted(new))] = f"{sum(new.values()) * 1024 / 1e6:.1f} MB"


def installed(test):
    """Installed packages and their sizes in KiB."""
    lines = test.board.sh(r"dpkg-query -W -f '${db:Status-Status} ${Package} ${Installed-Size}\n'").splitlines()
    fields = (line.split(" ") for line in lines)
    return {name: int(size or 0) for status, name, size in fields if status == "installed"}


def waits_for_its_configuration(test):
    test.board.sh("id -u aimass && id -nG aimass | grep -w video && id -nG aimass | grep -w audio")
    test.board.sh("aimass-agent --version")
    state = (test.show("ActiveState"), test.show("Result"))
    if state != ("inactive", "success"):
        raise GuestError(f"an agent that nobody configured is {state}, not at rest")
    # With a start at boot, too: no configuration is no failure.
    test.board.sh("systemctl start aimass-agent")
    if test.show("ActiveState") != "inactive":
        raise GuestError("an agent that nobody configured can be started")


def is_configured(test):
    key = test.board.sh("aimass-agent keygen --out /root/ops.key --id ops")
    text = (HERE / "agent.toml").read_text().replace("@PORT@", str(test.broker.port))
    if test.microphone:
        text += (HERE / "microphone.toml").read_text()
    (test.share / "agent.toml").write_text(text + key)
    test.board.sh("mkdir -p /srv/media && cp /host/bikes.mp4 /srv/media/")
    test.board.sh("install -m 640 -g aimass /host/agent.toml /etc/aimass/agent.toml")
    test.board.sh("aimass-agent validate --config /etc/aimass/agent.toml", SLOW_S)


def starts_at_boot(test):
    """The board starts anew, as after a power cut, and the agent with it."""
    test.board.restart()
    message = test.online(SLOW_S)
    up, now = float(test.board.sh("cut -d' ' -f1 /proc/uptime")), time.monotonic()
    test.figures["start of the kernel to `online`"] = f"{message.at - (now - up):.0f} s"
    test.board.wait_until_up()
    microseconds = [int(test.show(f"{what}TimestampMonotonic")) for what in ("InactiveExit", "ActiveEnter")]
    test.figures["start of the service to ready"] = f"{(microseconds[1] - microseconds[0]) / 1e6:.1f} s"


def counts_frames_of_the_camera(test):
    def delivers(health):
        eye = next(s for s in health["sources"] if s["id"] == "eye")
        return eye["state"] == "delivering" and eye["frames_received_total"] >= 20 and eye["fps_received"] > 0

    health = test.broker.expect("frames of the V4L2 camera are counted", f"{ROOT}/health", 150, delivers).payload
    eye = next(s for s in health["sources"] if s["id"] == "eye")
    if (eye["width"], eye["height"]) == (0, 0) or eye["reconnects_total"] != 0:
        raise GuestError(f"the camera delivers, but something is wrong with it: {eye}")
    test.figures[f"V4L2 camera ({eye['description']}, {eye['width']}x{eye['height']})"] = (
        f"{eye['fps_received']:.1f} frames a second of {eye['fps_configured']:.0f} that were asked for")


def hears_a_tone(test):
    """A sine of a tenth of full scale goes into one end of the sound card's cable; 23.0 dB below it is its mean."""
    rate = 48_000
    samples = array.array("h", (round(3276.7 * math.sin(440 * math.tau * n / rate)) for n in range(rate * 30)))
    with wave.open(str(test.share / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    topic = f"{ROOT}/state/ear/level"
    test.broker.expect("the silent microphone has a level", topic, 60,
                       lambda level: level["rms_dbfs"] is not None and level["rms_dbfs"] < -90)
    since = test.broker.mark()
    test.board.sh("systemd-run --quiet --unit=tone sh -c "
                  "'while aplay -q -D plughw:CARD=Loopback,DEV=0 /host/tone.wav; do :; done'")
    level = test.broker.expect("the tone is heard as loud as it is", topic, 90, lambda level: (
        level["rms_dbfs"] is not None and abs(level["rms_dbfs"] + 23) < 1 and abs(level["peak_dbfs"] + 20) < 1), since)
    since = test.broker.mark()
    test.board.sh("systemctl stop tone")
    test.figures["tone of -23.0 dBFS as the microphone heard it"] = f"{level.payload['rms_dbfs']:.1f} dBFS"
    test.broker.expect("silence after the tone", topic, 60,
                       lambda level: level["rms_dbfs"] is not None and level["rms_dbfs"] < -90, since)


def tells_events_of_a_clip(test):
    event = test.broker.expect("an object in the clip begins", f"{ROOT}/event/clip/object", SLOW_S,
                               lambda e: e["phase"] == "began").payload
    # The first thing of this clip that lasts, on every machine.
    if event["label"] != "car" or event["time_source"] != "file" or event["evidence"]["frames"] < 3:
        raise GuestError(f"not the event that the clip has: {event}")


def takes_a_signed_configuration(test):
    changed = test.share / "pushed.toml"
    text = (test.share / "agent.toml").read_text()
    changed.write_text(text.replace("# Here a push adds a zone.", (HERE / "zone.toml").read_text()))
    envelope = test.board.sh(
        f"aimass-agent sign --key /root/ops.key --id ops --version {VERSION_PUSHED} /host/pushed.toml 2>/dev/null")
    since = test.broker.mark()
    test.broker.publish_retained(f"{ROOT}/config/desired", envelope.strip())
    report = test.broker.expect(
        "the pushed configuration is judged", f"{ROOT}/config/reported", SLOW_S,
        lambda r: r["desired_version"] == VERSION_PUSHED and r["state"] != "probation", since).payload
    if report["state"] != "applied" or report["running_version"] != VERSION_PUSHED:
        raise GuestError(f"the pushed configuration was not applied: {report['state']}, {report['errors']}")
    test.broker.expect("the pushed zone counts", f"{ROOT}/state/clip/count/street/person", SLOW_S, since=since)


def is_restarted_by_the_watchdog(test):
    pid, since, old = test.show("MainPID"), test.broker.mark(), test.boot
    test.board.sh("systemctl kill --kill-whom=main --signal=STOP aimass-agent")
    began = time.monotonic()
    test.online(SLOW_S, since)
    test.figures["SIGSTOP to `online` again, by the watchdog of 30 s"] = f"{time.monotonic() - began:.0f} s"
    test.broker.expect("the last will of the stopped agent", f"{ROOT}/status", 1,
                       lambda s: s == {**s, "state": "offline", "boot": old}, since)
    restarts, after = test.show("NRestarts"), test.show("MainPID")
    if restarts != "1" or after == pid:
        raise GuestError(f"restarted {restarts} times, process {after} after {pid}")
    if "Watchdog timeout" not in test.board.sh("journalctl -b -u aimass-agent -o cat"):
        raise GuestError("the agent was restarted, but not by the watchdog")
    status = test.broker.all(f"{ROOT}/status")[-1].payload
    if status["config_version"] != VERSION_PUSHED:
        raise GuestError(f"the next life does not run the pushed configuration: {status}")


def logs_with_priorities(test):
    """What the agent wrote to the journal, over both lives: `journalctl -p warning` must find the right lines."""
    lines = [json.loads(line) for line in test.board.sh(
        "journalctl -b -u aimass-agent _TRANSPORT=stdout -o json --output-fields=PRIORITY,MESSAGE").splitlines()]
    wrong = [line for line in lines if line["PRIORITY"] != PRIORITIES.get(line["MESSAGE"].split(maxsplit=1)[0])]
    if not lines or wrong:
        raise GuestError(f"of {len(lines)} lines in the journal these have not the priority of their level: {wrong[:5]}")


def holds_little_memory(test):
    """The second life has looked at camera and clip for a minute: what it holds is what it needs."""
    health = test.broker.expect(
        "health of the second life", f"{ROOT}/health", SLOW_S,
        lambda h: h["boot"] == test.boot and any(s["inferences_total"] for s in h["sources"])).payload
    peak = int(re.search(r"VmHWM:\s+(\d+)", test.board.sh(f"cat /proc/{test.show('MainPID')}/status"))[1])
    test.figures["RSS of the agent, one camera, one clip with coco-ssd-lite"] = (
        f"{health['rss_bytes'] / 1e6:.0f} MB, peak {peak * 1024 / 1e6:.0f} MB")
    limit = int(test.show("MemoryMax"))
    if peak * 1024 > limit:
        raise GuestError(f"{peak} KiB at the peak is above the unit's limit of {limit} bytes")


def stops_in_order_at_power_off(test):
    since = test.broker.mark()
    seconds = test.board.power_off()
    test.figures["power off"] = f"{seconds:.0f} s"
    stopping = test.broker.expect("the agent says that it stops", f"{ROOT}/status", 5,
                                  lambda s: s["state"] == "stopping", since).payload
    last = test.broker.all(f"{ROOT}/status")[-1].payload
    if stopping["boot"] != test.boot or last["state"] != "stopping":
        raise GuestError(f"stopping was not the last word of this life: {last}")


def lost_no_event(test):
    """Over all lives: numbers without a gap, and one event for each."""
    by_seq = {}
    for message in test.broker.all(f"{ROOT}/event/.*"):
        event = message.payload
        if by_seq.setdefault(event["seq"], event["id"]) != event["id"]:
            raise GuestError(f"two events have the number {event['seq']}")
    missing = sorted(set(range(1, max(by_seq) + 1)) - set(by_seq))
    if missing:
        raise GuestError(f"of {max(by_seq)} events these never came: {missing[:20]}")
    test.figures["events, numbered without a gap"] = str(len(by_seq))


def kept_its_kernel_whole(test):
    if broken := test.board.broken():
        raise GuestError("the kernel told of something broken:\n" + "\n".join(broken[:10]))


STEPS = [
    boots, installs, waits_for_its_configuration, is_configured, starts_at_boot, counts_frames_of_the_camera,
    hears_a_tone, tells_events_of_a_clip, takes_a_signed_configuration, is_restarted_by_the_watchdog,
    logs_with_priorities, holds_little_memory, stops_in_order_at_power_off, lost_no_event, kept_its_kernel_whole,
]
