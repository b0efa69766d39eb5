"""A wiretap in a network namespace: records every frame that a host sends, and plays them again.

    tape.py record FILE               until SIGTERM
    tape.py play FILE DEVICE          datagrams as they were, from the addresses they came from; streams to their ports anew
    tape.py tell FILE                 what is on it

A file is a row of [length, four bytes; frame]. Nothing in it is understood beyond Ethernet, IPv4, UDP and TCP.
"""

import collections
import contextlib
import signal
import socket
import struct
import sys
import time

ETH_P_ALL, PACKET_OUTGOING = 3, 4
PORT = 7373
SNAP = 65535


def record(path):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    tap.settimeout(0.2)
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    with open(path, "wb") as file:
        print("recording", flush=True)
        while going:
            with contextlib.suppress(TimeoutError):
                frame, (device, _, kind, *_) = tap.recvfrom(SNAP)
                # What comes in at a port: the bridge itself and the way out show the same frame again.
                if kind != PACKET_OUTGOING and device.startswith("p"):
                    file.write(struct.pack("<I", len(frame)) + frame)


def frames(path):
    with open(path, "rb") as file:
        while head := file.read(4):
            yield file.read(struct.unpack("<I", head)[0])


def packets(path):
    """(frame, protocol, source, target, from port, to port, the rest from there) of each that is kpeer's."""
    for frame in frames(path):
        if frame[12:14] != b"\x08\x00" or frame[23] not in (6, 17):
            continue
        start = 14 + 4 * (frame[14] & 15)
        source, target = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
        ports = struct.unpack(">HH", frame[start:start + 4])
        if PORT in ports:
            end = 14 + struct.unpack(">H", frame[16:18])[0]
            yield frame, frame[23], source, target, *ports, start, end


def datagrams(path):
    """Frames that may be sent again. Over the lab's wires no checksum is filled in; without one it is taken."""
    for frame, protocol, *_, start, _end in packets(path):
        if protocol == 17:
            yield frame[:start + 6] + b"\0\0" + frame[start + 8:]


def streams(path):
    """Target and bytes of what each connection said to the port, in the order of its sequence numbers."""
    said, first = collections.defaultdict(dict), {}
    for frame, protocol, source, target, mine, to, start, end in packets(path):
        if protocol != 6 or to != PORT:
            continue
        key, number = (source, mine, target), struct.unpack(">I", frame[start + 4:start + 8])[0]
        if frame[start + 13] & 2:  # SYN
            first[key], said[key] = number + 1, {}
        data = frame[start + 4 * (frame[start + 12] >> 4):end]
        if data and key in first:
            said[key][(number - first[key]) % 2**32] = data
    for (_, _, target), parts in said.items():
        whole = b""
        for at in sorted(parts):
            if at <= len(whole):
                whole += parts[at][len(whole) - at:]
        if whole:
            yield target, whole


def play(path, device):
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((device, 0))
    count = 0
    for frame in datagrams(path):
        with contextlib.suppress(OSError):
            out.send(frame)
            count += 1
        time.sleep(0.002)  # so that each is heard
    played = answered = 0
    for target, whole in streams(path):
        with contextlib.suppress(OSError), socket.create_connection((target, PORT), timeout=2) as link:
            link.settimeout(0.3)
            played += 1
            link.sendall(whole)
            with contextlib.suppress(TimeoutError):
                while data := link.recv(65536):
                    answered += len(data)
    print(count, played, answered)


def tell(path):
    print(len(list(datagrams(path))), len(list(streams(path))), sum(len(whole) for _, whole in streams(path)))


if __name__ == "__main__":
    {"record": record, "play": play, "tell": tell}[sys.argv[1]](*sys.argv[2:])
