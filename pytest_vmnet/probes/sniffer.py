"""A capture for guests that have python3 and no tcpdump.

It stands in for tcpdump: the same words on its error output, the same signals, a pcap file of
Ethernet frames. The kernel hands it ICMP alone where `ctypes` is there; it keeps the probes of
this run, ICMP errors and neighbour discovery, and counts what the kernel dropped.
"""

from __future__ import annotations

PROGRAM = """\
import signal, socket, struct, sys, time
ifname, path, mark, limit, most, snap, weak = sys.argv[1:]
mark, most, snap, end = mark.encode(), int(most), int(snap), time.time() + float(limit)
take = socket.socket(17, 3, 0)
try:
    import ctypes
    code = [(40, 0, 0, 12), (21, 0, 2, 0x800), (48, 0, 0, 23), (21, 3, 4, 1), (21, 0, 3, 0x86DD),
            (48, 0, 0, 20), (21, 0, 1, 58), (6, 0, 0, 65535), (6, 0, 0, 0)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in code))
    take.setsockopt(1, 26, struct.pack("HL", len(code), ctypes.addressof(text)))
except (ImportError, OSError):
    pass
for size in (33, 8):
    try:
        take.setsockopt(1, size, 8 << 20)
        break
    except OSError:
        pass
take.setsockopt(1, 35, 1)
take.bind((ifname, 3))
take.settimeout(0.2)
out = open(path, "wb")
out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snap, 1))
kept = read = total = lost = 0
stop = False
def count():
    global total, lost
    new, drops = struct.unpack("II", take.getsockopt(263, 6, 8))
    total, lost = total + new, lost + drops
def told(*_):
    count()
    more = max(total - lost - read, 0)
    sys.stderr.write("python3: %d packets captured, %d packets received by filter, "
                     "%d packets dropped by kernel\\n" % (kept, kept + more, lost))
    sys.stderr.flush()
def ended(*_):
    global stop
    stop = True
signal.signal(signal.SIGUSR1, told)
signal.signal(signal.SIGINT, ended)
signal.signal(signal.SIGTERM, ended)
def wanted(frame):
    kind = frame[12:14]
    if kind == b"\\x08\\0" and len(frame) > 34 and frame[23] == 1:
        at, echo, others = 14 + (frame[14] & 15) * 4, (0, 8), (3, 5, 11, 12)
    elif kind == b"\\x86\\xdd" and len(frame) > 54 and frame[20] == 58:
        at, echo, others = 54, (128, 129), (1, 2, 3, 4, 135, 136, 137)
    else:
        return False
    what = frame[at] if at < len(frame) else None
    return what in others or what in echo and (weak == "weak" or frame[at+24:at+36] == mark)
sys.stderr.write("listening on %s\\n" % ifname)
sys.stderr.flush()
while kept < most and time.time() < end:
    try:
        frame, extra, _, _ = take.recvmsg(2048, 256)
    except socket.timeout:
        if stop:
            break
        continue
    except OSError as problem:
        sys.stderr.write("%s\\n" % problem)
        sys.exit(1)
    read += 1
    if wanted(frame):
        stamp = [struct.unpack("qq", data[:16]) for _, kind, data in extra if kind == 35]
        now = stamp[0] if stamp else divmod(time.time_ns(), 10**9)
        out.write(struct.pack("<IIII", now[0], now[1], len(frame[:snap]), len(frame)))
        out.write(frame[:snap])
        kept += 1
out.close()
count()
sys.stderr.write("%d packets captured\\n%d packets received by filter\\n"
                 "%d packets dropped by kernel\\n" % (kept, total, lost))
"""
"""Arguments: interface, file, mark, seconds, packets, bytes of a packet, and ``weak`` for every
echo packet, marked or not."""
