"""What ping printed, recorded: iputils 20221126 with LC_ALL=C, and busybox."""

from __future__ import annotations

CLEAN = """\
PATTERN: 0x6162636465666768696a6b6c0003766e
PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.204 ms
64 bytes from 192.0.2.1: icmp_seq=2 ttl=64 time=1003 ms
64 bytes from 192.0.2.1: icmp_seq=3 ttl=64 time=0.034 ms

--- 192.0.2.1 ping statistics ---
3 packets transmitted, 3 received, 0% packet loss, time 56ms
rtt min/avg/max/mdev = 0.033/0.090/0.204/0.080 ms
"""
LOSSY = """\
PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
64 bytes from 192.0.2.1: icmp_seq=2 ttl=64 time=0.033 ms
64 bytes from 192.0.2.1: icmp_seq=4 ttl=64 time=0.034 ms

--- 192.0.2.1 ping statistics ---
5 packets transmitted, 2 received, 60% packet loss, time 4040ms
rtt min/avg/max/mdev = 0.033/0.033/0.034/0.000 ms
"""
TWICE = """\
PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.204 ms
64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.310 ms (DUP!)
64 bytes from 192.0.2.1: icmp_seq=2 ttl=64 time=0.204 ms

--- 192.0.2.1 ping statistics ---
2 packets transmitted, 2 received, +1 duplicates, 0% packet loss, time 1ms
"""
UNREACHABLE = """\
PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
From 192.0.2.11 icmp_seq=1 Destination Host Unreachable
From 192.0.2.11 icmp_seq=2 Destination Host Unreachable
From 192.0.2.254: icmp_seq=3 Redirect Host(New nexthop: 192.0.2.1)
From 192.0.2.254: icmp_seq=4 Redirect Host(New nexthop: 192.0.2.1)

--- 192.0.2.1 ping statistics ---
4 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1015ms
pipe 3
"""
REFUSED = """\
PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
ping: sendmsg: Operation not permitted
ping: sendmsg: Operation not permitted

--- 192.0.2.1 ping statistics ---
2 packets transmitted, 0 received, 100% packet loss, time 24ms
"""
NO_ROUTE = """\
PATTERN: 0x6162636465666768696a6b6c0003766e
ping: connect: Network is unreachable
"""
KILLED = "\n".join(CLEAN.splitlines()[:4])
BUSYBOX = """\
PING 192.0.2.1 (192.0.2.1): 56 data bytes
64 bytes from 192.0.2.1: seq=0 ttl=64 time=0.071 ms

--- 192.0.2.1 ping statistics ---
1 packets transmitted, 1 packets received, 0% packet loss
"""
BUSYBOX_REFUSED = """\
PING 192.0.2.1 (192.0.2.1): 56 data bytes
ping: sendto: Operation not permitted
"""
IPV6 = """\
PING fe80::dc11:58ff:fe19:89ea%v0(fe80::dc11:58ff:fe19:89ea%v0) 56 data bytes
64 bytes from fe80::dc11:58ff:fe19:89ea%v0: icmp_seq=1 ttl=64 time=0.039 ms
64 bytes from fe80::dc11:58ff:fe19:89ea%v0: icmp_seq=2 ttl=64 time=0.044 ms

--- fe80::dc11:58ff:fe19:89ea%v0 ping statistics ---
2 packets transmitted, 2 received, 0% packet loss, time 23ms
rtt min/avg/max/mdev = 0.039/0.041/0.044/0.002 ms
"""
IPV6_UNREACHABLE = """\
PING 2001:db8::99(2001:db8::99) 56 data bytes
From 2001:db8::11 icmp_seq=1 Destination unreachable: Address unreachable
From 2001:db8::11 icmp_seq=2 Destination unreachable: Address unreachable

--- 2001:db8::99 ping statistics ---
2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1013ms

"""
TOO_LONG = """\
PING 127.0.0.1 (127.0.0.1) 1472(1500) bytes of data.
ping: local error: message too long, mtu=1400
ping: local error: message too long, mtu=1400

--- 127.0.0.1 ping statistics ---
2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 23ms

"""
