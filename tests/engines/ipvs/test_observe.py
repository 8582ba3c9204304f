"""The kernel's table as it prints it."""

from __future__ import annotations

from ipaddress import ip_address

from ftpdirector.engines.ipvs.observe import Destination, parse_ip_vs

TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
FWM  00000015 wlc persistent 900 FFFFFFFF
  -> C633640C:0015      Masq    1      3          4
  -> C633640B:0015      Masq    0      1          0
TCP  C000020A:0050 rr
  -> C633640C:0050      Masq    1      9          9
FWM  00000015 IPv6 rr
  -> [2001:0db8:0003:0000:0000:0000:0000:0011]:0015      Masq    5      2          0
"""


def test_services_by_mark_with_their_real_servers() -> None:
    four, six = parse_ip_vs(TABLE)
    assert (four.mark, four.scheduler, six.mark, six.scheduler) == (21, "wlc", 21, "rr")
    assert four.destinations == {
        (ip_address("198.51.100.12"), 21): Destination(weight=1, active=3, inactive=4),
        (ip_address("198.51.100.11"), 21): Destination(weight=0, active=1, inactive=0),
    }
    assert six.destinations == {(ip_address("2001:db8:3::11"), 21): Destination(weight=5, active=2, inactive=0)}


def test_no_module_no_services() -> None:
    assert parse_ip_vs("") == ()
