"""The table: what comes of FTP through IPVS, recipe by recipe and mode by mode, on a real kernel.

`ROWS` is what administrators write by hand, and what has become of it; `TRAPS` and `STEPS` are what bites those whose
transfers work. What ftpdirector renders, refuses and warns of stands on it. This module carries nothing out.
"""

from __future__ import annotations

from dataclasses import replace

from lab.guest.topology import VIRTUAL

from tests.guest import manual_recipes
from tests.guest.manual_recipes import (
    ANNOUNCED,
    BOTH,
    CT_STATE,
    PERSISTENT,
    PLAIN,
    REAL_ADDRESS,
    SNAT,
    TIME_OUT,
    YES,
    Recipe,
    helped,
    marks,
    servers,
    service,
    sliced,
    table,
)

ROWS: list[tuple[Recipe, tuple[str, ...]]] = [
    (
        Recipe(name="one persistent mark, nothing else", settings=PLAIN, nft=table(BOTH), services=PERSISTENT),
        (REAL_ADDRESS, YES, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(name="and pasv_address", settings=servers(ANNOUNCED), nft=table(BOTH), services=PERSISTENT),
        (YES, YES, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(
            name="and pasv_address and SNAT", settings=servers(ANNOUNCED), nft=table(BOTH, SNAT), services=PERSISTENT
        ),
        (YES, YES, YES, YES),
    ),
    (
        Recipe(
            name="not persistent, pasv_address",
            settings=servers(ANNOUNCED),
            nft=table(BOTH),
            services=manual_recipes.NOT_PERSISTENT,
        ),
        (manual_recipes.WRONG_SERVER, manual_recipes.WRONG_SERVER, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(
            name="CT helper and SNAT, no ip_vs_ftp",
            settings=PLAIN,
            nft=table(BOTH, SNAT, manual_recipes.CT_HELPER),
            services=PERSISTENT,
        ),
        (REAL_ADDRESS, YES, YES, YES),
    ),
    (
        Recipe(name="port 21 alone, no helper", settings=PLAIN, services=manual_recipes.BY_PORT_21),
        (REAL_ADDRESS, manual_recipes.BY_DIRECTOR, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(
            name="all ports, persistent, pasv_address",
            settings=servers(ANNOUNCED),
            services=service(f"-t {VIRTUAL[4]}:0", "-p 300"),
        ),
        (YES, YES, TIME_OUT, TIME_OUT),
    ),
    (sliced("slices"), (YES, YES, YES, YES)),
    (replace(helped("ip_vs_ftp without conntrack"), sysctls={"ipv4/vs/conntrack": 0}), (REAL_ADDRESS, YES, YES, YES)),
    (
        replace(helped("ip_vs_ftp without conntrack but vs.conntrack"), sysctls={"ipv4/vs/conntrack": 1}),
        (REAL_ADDRESS, YES, YES, YES),
    ),
    (helped("ip_vs_ftp and a nat rule", manual_recipes.MASQUERADE), (YES, YES, YES, YES)),
    (replace(helped("ip_vs_ftp and -m conntrack"), iptables=[manual_recipes.M_CONNTRACK]), (YES, YES, YES, YES)),
    (helped("ip_vs_ftp and ct state", CT_STATE), (YES, YES, YES, YES)),
    (
        replace(helped("ip_vs_ftp, only port 21 marked"), nft=table(marks("21"), CT_STATE)),
        (YES, YES, YES, YES),
    ),
    (
        replace(helped("ip_vs_ftp, not persistent", CT_STATE), services=manual_recipes.NOT_PERSISTENT),
        (YES, YES, YES, YES),
    ),
    (
        replace(
            helped("ip_vs_ftp, only port 21, not persistent"),
            nft=table(marks("21"), CT_STATE),
            services=manual_recipes.NOT_PERSISTENT,
        ),
        (YES, YES, YES, YES),
    ),
    (
        replace(helped("ip_vs_ftp, not from port 20", CT_STATE), settings=servers(port_20=False)),
        (YES, YES, TIME_OUT, TIME_OUT),
    ),
    (
        replace(helped("ip_vs_ftp and pasv_address", CT_STATE), settings=servers(ANNOUNCED)),
        (TIME_OUT, YES, YES, YES),
    ),
    (
        Recipe(name="port 21 alone, ip_vs_ftp", settings=PLAIN, services=manual_recipes.BY_PORT_21, ip_vs_ftp=True),
        (YES, YES, YES, YES),
    ),
    (sliced("slices, IPv6", version=6), (YES, YES)),
    (
        Recipe(
            name="ip_vs_ftp and ct state, IPv6",
            settings=PLAIN,
            nft=table(marks("21", manual_recipes.RANGE, version=6), CT_STATE, version=6),
            services=service("-f 21", "-p 300", version=6),
            ip_vs_ftp=True,
            version=6,
            modes=manual_recipes.EXTENDED,
        ),
        (YES, YES),
    ),
]
"""Recipe, and what comes of each of its modes, in their order: PASV, EPSV, PORT, EPRT; in IPv6 EPSV, EPRT."""

DROP_INVALID = "chain state { type filter hook forward priority filter;\nct state invalid drop\n}"
ONE_MARK = Recipe(name="", settings=servers(ANNOUNCED), nft=table(BOTH), services=PERSISTENT)

TRAPS: list[tuple[Recipe, tuple[str, ...]]] = [
    (
        replace(
            sliced("slices, INVALID dropped, vs.conntrack 0", DROP_INVALID),
            sysctls={"ipv4/vs/conntrack": 0},
            modes=["PASV"],
        ),
        (manual_recipes.NO_CONTROL + TIME_OUT,),
    ),
    (
        replace(sliced("slices, INVALID dropped, vs.conntrack 1", DROP_INVALID), sysctls={"ipv4/vs/conntrack": 1}),
        (YES, YES, YES, YES),
    ),
    (
        sliced("slices with a real port", slice_port=21),
        (manual_recipes.NO_TRANSFER, manual_recipes.NO_TRANSFER, YES, YES),
    ),
    (sliced("slices, real port 2121", port=2121), (YES, YES, YES, YES)),
    (
        replace(
            ONE_MARK,
            name="one persistent mark, real port 2121",
            services=service("-f 21", "-p 300", port=2121),
            port=2121,
        ),
        (manual_recipes.NO_CONTROL + "refused",) * 4,
    ),
]
"""As the rows above, but for what no administrator means to write."""

STEPS: list[Recipe] = [
    replace(sliced("drain, slices"), steps="drain"),
    *(
        replace(
            ONE_MARK,
            name=f"drain, one persistent mark, expire_quiescent_template {value}",
            sysctls={"ipv4/vs/expire_quiescent_template": value},
            steps="drain",
        )
        for value in (0, 1)
    ),
    *(
        replace(
            sliced(f"remove, slices, expire_nodest_conn {value}"),
            sysctls={"ipv4/vs/expire_nodest_conn": value},
            steps="remove",
        )
        for value in (0, 1)
    ),
    replace(sliced("track file"), services=[], steps="track_file"),
]
"""What happens to sessions that are held while the table changes."""
