"""The emulated board: QEMU as a process, and commands in it through QEMU's guest agent.

The root disk is a throw-away layer over the image; the folder `share` appears in the guest as /host, read-only. Serial
console and journal are kept as files in the folder of the run, to the last line before the power goes.
"""

import base64
import json
import os
import pathlib
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time

BOOT_S = 600
EMULATOR = "qemu-system-aarch64"
# What the kernel prints when something in it is broken; also a device that never answers.
BROKEN = re.compile(r"Oops|BUG:|Kernel panic|Call trace:|Unable to handle kernel|blocked for more than \d+ seconds|"
                    r"soft lockup|rcu: INFO|Out of memory", re.IGNORECASE)


class GuestError(Exception):
    """The board does not do what it should: one sentence."""


class Guest:
    """One board, from power on to power off. A context manager: whatever happens, the process ends."""

    def __init__(self, image, run, share, console=False):
        self.run = pathlib.Path(run)
        self.serial = self.run / "serial.log"
        self.journal = self.run / "journal.log"
        self.began = time.monotonic()
        self._boots = 1
        self._socket = None
        self._unread = b""
        if shutil.which(EMULATOR) is None:
            raise GuestError(f"{EMULATOR} is not installed: run cross/packages.sh board")
        image = pathlib.Path(image)
        kernel = "console=ttyAMA0 root=/dev/vda panic=-1 systemd.show_status=1 net.ifnames=0"
        devices = []
        if console:
            kernel += " systemd.wants=serial-getty@hvc0.service"
            devices = ["-chardev", "stdio,id=console,signal=off", "-device", "virtconsole,chardev=console"]
        self._process = subprocess.Popen(
            [
                EMULATOR, "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-accel", "tcg,thread=multi",
                "-nodefaults", "-display", "none", "-rtc", "base=utc",
                "-kernel", image / "kernel", "-initrd", image / "initrd", "-append", kernel,
                "-serial", f"file:{self.serial}",
                "-drive", f"if=none,id=root,format=raw,snapshot=on,file={image / 'root.ext4'}",
                "-device", "virtio-blk-pci,drive=root",
                "-device", "virtio-serial-pci", *devices,
                "-chardev", f"socket,id=agent,server=on,wait=off,path={self.run / 'agent'}",
                "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
                "-chardev", f"file,id=journal,path={self.journal}",
                "-device", "virtserialport,chardev=journal,name=board.journal",
                "-fsdev", f"local,id=host,security_model=none,readonly=on,path={share}",
                "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
                "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
                "-device", "virtio-rng-pci",
            ],
            stdin=None if console else subprocess.DEVNULL,
            stderr=None if console else open(self.run / "qemu.log", "wb"),
            # The throw-away layer lies beside the logs.
            env={**os.environ, "TMPDIR": str(self.run)},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._socket:
            self._socket.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def wait_until_up(self):
        """Waits until systemd has started everything; returns the seconds since power on."""
        deadline = self.began + BOOT_S
        if self._socket is None:
            self._connect(deadline)
        state = self.sh("systemctl is-system-running --wait || true", timeout_s=deadline - time.monotonic()).strip()
        seconds = time.monotonic() - self.began
        if state != "running":
            failed = self.sh("systemctl --failed --no-legend --plain || true")
            raise GuestError(f"the board is '{state}' after its boot, not 'running': {failed.strip()}")
        return seconds

    def sh(self, command, timeout_s=60, check=True):
        """Runs a line of bash as root; returns what it wrote, errors included. A failure is an error if `check`."""
        status, output = self.status_of(command, timeout_s)
        if check and status != 0:
            raise GuestError(f"`{command}` ended with {status} on the board:\n{output.strip()}")
        return output

    def status_of(self, command, timeout_s=60):
        """Runs a line of bash as root; returns its exit status and what it wrote."""
        deadline = time.monotonic() + timeout_s
        pid = self._start(command)
        wait_s = 0.1
        while True:
            state = self._ask("guest-exec-status", {"pid": pid}, deadline + 30)
            if state["exited"]:
                output = base64.b64decode(state.get("out-data", "")).decode("utf-8", "replace")
                return state.get("exitcode", 128 + state.get("signal", 0)), output
            if time.monotonic() > deadline:
                raise GuestError(f"`{command}` has not ended on the board within {timeout_s:.0f} s")
            # Each question costs the guest some work, which is dear there.
            time.sleep(wait_s)
            wait_s = min(wait_s * 1.5, 3)

    def _start(self, command):
        """Lets bash begin with a line; returns its process id."""
        arguments = {"path": "/bin/bash", "arg": ["-c", f"exec 2>&1\n{command}"], "capture-output": True,
                     "env": ["HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
                             "LC_ALL=C.UTF-8"]}
        return self._ask("guest-exec", arguments, time.monotonic() + 60)["pid"]

    def restart(self):
        """Shuts the board down in an orderly way and lets it boot anew; returns when it answers again."""
        boot_id = "cat /proc/sys/kernel/random/boot_id"
        before = self.sh(boot_id)
        self.began = time.monotonic()
        self._boots += 1
        self._start("systemctl reboot --no-block")
        while True:
            self._find_agent(self.began + BOOT_S)
            try:
                if self.sh(boot_id) != before:
                    return
            except GuestError:
                pass  # it went down between question and answer
            self._alive(self.began + BOOT_S, f"the board does not come back within {BOOT_S} s")
            time.sleep(0.5)

    def power_off(self, timeout_s=120):
        """Shuts the board down in an orderly way; returns the seconds it took."""
        began = time.monotonic()
        self._start("systemctl poweroff --no-block")
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the board is not off {timeout_s} s after `systemctl poweroff`") from None
        if status != 0:
            raise GuestError(f"the emulator ended with {status}: {self._tail('qemu.log')}")
        return time.monotonic() - began

    def wait(self):
        """Waits until the board is switched off by whoever uses its console."""
        self._process.wait()

    def broken(self):
        """Lines of the kernel that tell of something broken in it, and boots that nobody asked for."""
        lines = self.serial.read_text("utf-8", "replace").splitlines()
        found = [line for line in lines if BROKEN.search(line)]
        boots = sum("Booting Linux on physical CPU" in line for line in lines)
        if boots != self._boots:
            found.append(f"the kernel booted {boots} times instead of {self._boots}")
        return found

    def _connect(self, deadline):
        self._socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._socket.connect(str(self.run / "agent"))
                break
            except OSError:
                self._alive(deadline, "the emulator does not start")
                time.sleep(0.1)
        self._find_agent(deadline)

    def _find_agent(self, deadline):
        # Asked again and again, for the guest hears nothing before its agent runs; old answers are passed over.
        while True:
            number = secrets.randbelow(2**31)
            try:
                self._send("guest-sync", {"id": number})
            except TimeoutError:
                pass  # the line is full of questions that nobody took yet
            answer_by = time.monotonic() + 5
            while (answer := self._answer(answer_by)) is not None:
                if answer.get("return") == number:
                    return
            self._alive(deadline, f"the board does not come up within {BOOT_S} s")

    def _alive(self, deadline, problem):
        if self._process.poll() is not None:
            raise GuestError(f"the emulator ended with {self._process.returncode}: "
                             f"{self._tail('qemu.log')} {self._tail('serial.log')}")
        if time.monotonic() > deadline:
            raise GuestError(f"{problem}: {self._tail('serial.log')}")

    def _tail(self, name):
        path = self.run / name
        text = path.read_text("utf-8", "replace") if path.exists() else ""
        return " | ".join(text.strip().splitlines()[-3:])

    def _send(self, command, arguments):
        self._socket.settimeout(30)
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def _answer(self, deadline):
        while b"\n" not in self._unread:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                more = self._socket.recv(65536)
            except TimeoutError:
                return None
            if not more:
                raise GuestError("the emulator closed the line to the board")
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return json.loads(line.lstrip(b"\xff"))

    def _ask(self, command, arguments, deadline):
        self._send(command, arguments)
        answer = self._answer(deadline)
        if answer is None:
            raise GuestError(f"the board does not answer ({command}): {self._tail('serial.log')}")
        if "error" in answer:
            raise GuestError(f"the board refuses {command}: {answer['error'].get('desc')}")
        return answer["return"]


def make_image(fresh=False):
    """The folder with kernel, initrd and root image; makes them if need be."""
    script = pathlib.Path(__file__).with_name("image.sh")
    made = subprocess.run([script, *(["--fresh"] if fresh else [])], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode != 0:
        raise GuestError(f"the board's image could not be made: {shlex.join([str(script)])} ended with {made.returncode}")
    return pathlib.Path(made.stdout.strip().splitlines()[-1])


def eventually(what, timeout_s, probe):
    """Asks `probe` again and again until it returns something true; an error that names `what` if it never does."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise GuestError(f"{what}: not within {timeout_s} s")
        time.sleep(0.2)


def note(text):
    """A line for whoever watches."""
    print(f"[board] {text}", file=sys.stderr, flush=True)
