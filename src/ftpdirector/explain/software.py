"""The names of the settings of each FTP server. This module knows no value of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ftpdirector.model import ServerSoftware


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingNames:
    """The names of the settings that a data connection depends on."""

    address: str
    """What a 227 names."""
    ports: str
    data_port: str
    """What has active data connections leave from the control port less one."""


SETTING_NAMES: Final[Mapping[ServerSoftware, SettingNames]] = {
    ServerSoftware.VSFTPD: SettingNames(
        address="pasv_address",
        ports="pasv_min_port and pasv_max_port",
        data_port="connect_from_port_20, which is NO unless set",
    ),
    ServerSoftware.PROFTPD: SettingNames(
        address="MasqueradeAddress", ports="PassivePorts", data_port="its start as root"
    ),
    ServerSoftware.PURE_FTPD: SettingNames(
        address="ForcePassiveIP", ports="PassivePortRange", data_port="its start as root"
    ),
    ServerSoftware.PYFTPDLIB: SettingNames(
        address="masquerade_address", ports="passive_ports", data_port="active_dtp's source_address"
    ),
    ServerSoftware.OTHER: SettingNames(
        address="pasv_address (or what it calls that)",
        ports="passive port range",
        data_port="its setting for active mode",
    ),
}
