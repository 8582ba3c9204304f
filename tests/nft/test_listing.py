"""The text of a table and its values: what is printed is read back, and packets' elements are nobody's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from ftpdirector.engines.nftables.adoption import adopt
from ftpdirector.engines.nftables.compile import Compiler, compile_table
from ftpdirector.nft.listing import canonical, parse_table, reworded, with_elements_of
from ftpdirector.nft.objects import Table, format_table
from ftpdirector.nft.transaction import transaction
from ftpdirector.wanted import Wanted
from tests.engines.nftables.clusters import wanteds


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_what_is_printed_is_read_back(wanted: Wanted) -> None:
    table = compile_table(wanted)
    assert transaction(parse_table(format_table(table)), table) == ""


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_the_table_remembers_who_is_offered_and_who_is_drained(wanted: Wanted) -> None:
    found = adopt(format_table(compile_table(wanted)), Compiler(wanted.cluster))
    for key, offer in wanted.offers.items():
        assert (found.offers[key].weight, found.offers[key].drained) == (offer.weight, offer.drained)
    assert found.table == compile_table(wanted)


@settings(deadline=None, max_examples=20)
@given(wanteds())
def test_order_is_no_difference(wanted: Wanted) -> None:
    table = compile_table(wanted)
    turned = replace(table, sets=table.sets[::-1], chains=table.chains[::-1])
    assert canonical(format_table(turned)) == canonical(format_table(table))


def test_what_packets_filled_is_left_out() -> None:
    text = (
        "table inet x {\n\tset seen {\n\t\ttype ipv4_addr\n\t\tflags dynamic,timeout\n"
        "\t\telements = { 192.0.2.1 timeout 15m,\n\t\t\t     192.0.2.2 timeout 15m }\n\t}\n}\n"
    )
    assert parse_table(text).sets[0].elements == {}


def marks(*elements: str) -> Table:
    listed = "".join(f"\t\t\t{one},\n" for one in elements)
    return parse_table(
        f"table inet x {{\n\tmap m {{\n\t\ttype ipv4_addr : mark\n\t\telements = {{\n{listed}\t\t}}\n\t}}\n}}\n"
    )


def test_an_element_that_nft_words_otherwise_is_no_change() -> None:
    """Of a thousand elements one goes, and nine hundred and ninety-nine are not written anew."""
    present = marks("192.0.2.1 : 0x00000015", "192.0.2.2 : 0x00000016")
    shown, ours = marks("192.0.2.1 : 0x00000015"), marks("192.0.2.1 : 21")
    wanted = with_elements_of(shown, ours)
    change = transaction(reworded(present, shown=shown, wanted=wanted), wanted)
    assert change == "delete element inet x m { 192.0.2.2 : 0x00000016 }\n"


FOREIGN = """table inet x {
	flags dormant
	comment "not { ours # at all"
	quota monthly {
		over 25 mbytes
	}
	ct timeout short {
		protocol tcp
		l3proto ip
		policy = { established : 2m, close : 20s }
	}
	flowtable fast {
		hook ingress priority filter
		devices = { lo }
	}
	chain theirs {
		tcp dport 21 quota name "monthly" comment "} # a brace" drop
	}
}
"""


def test_what_is_not_ours_is_carried_as_text() -> None:
    table = parse_table(FOREIGN)
    assert [(obj.kind, obj.name) for obj in table.foreign] == [
        ("quota", "monthly"), ("ct timeout", "short"), ("flowtable", "fast"),
    ]  # fmt: skip
    assert table.options == ("flags dormant", 'comment "not { ours # at all"')
    assert [rule.text for rule in table.chains[0].rules] == [
        'tcp dport 21 quota name "monthly" comment "} # a brace" drop'
    ]
    in_order = tuple(sorted(table.foreign, key=lambda obj: obj.kind))
    assert parse_table(canonical(FOREIGN)) == replace(table, foreign=in_order)


@pytest.mark.parametrize("text", ["", "nothing"])
def test_a_text_without_a_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no table"):
        parse_table(text)
