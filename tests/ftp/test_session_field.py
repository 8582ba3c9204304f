"""The session before the clients and servers of the field: what public reports and real programs do."""

from __future__ import annotations

import pytest

from ftpdirector.ftp.actions import (
    Clock,
    Close,
    Connect,
    DataReady,
    Direction,
    Drop,
    Finish,
    Listen,
    Outcome,
    Side,
    StartRelay,
    ToClient,
    ToServer,
    TransferEnded,
)
from ftpdirector.model import DataToServer, Endpoint
from ftpdirector.testing.playbook import SERVER, SERVER_6, Playbook, to_client, to_server

DOWN = Direction.DOWNLOAD
UP = Direction.UPLOAD
SERVER_DATA = Connect(Side.SERVER, Endpoint(SERVER.address, 30001))
PASV_227 = "227 Ok (198,51,100,11,117,49)"


def transferring(line: str) -> Playbook:
    return Playbook().logged_in().passive().client(line).server("150 Go")


class TestTheFinalWordNeverComes:
    """Pure-FTPd answers a client that ends a download early with a second 150, and nothing more."""

    def broken(self) -> Playbook:
        return transferring("RETR f").data_broken(Side.CLIENT).expect(Drop(Side.CLIENT), Drop(Side.SERVER))

    def test_any_further_reply_may_be_the_last(self) -> None:
        book = self.broken().server("150 0.5 seconds").expect(to_client("150 0.5 seconds")).client("PWD")
        book.expect(
            TransferEnded("RETR", "f", DOWN, Outcome.FAILED, "the real server said nothing final"), to_server("NOOP")
        )
        book.server("200 Zzz").expect(to_server("PWD")).server('257 "/"').expect(to_client('257 "/"'))

    def test_with_a_command_waiting_before_the_further_reply(self) -> None:
        book = self.broken().client("PWD").expect().server("150 0.5 seconds")
        book.expect_some(to_client("150 0.5 seconds"), to_server("NOOP")).server("200 Zzz").expect(to_server("PWD"))

    def test_silence_releases_the_queue(self) -> None:
        book = self.broken()
        assert not book.session.may_be_stuck
        book.client("PWD").expect()
        assert book.session.may_be_stuck
        book.silence().expect_some(to_server("NOOP")).server("200 Zzz").expect(to_server("PWD"))
        assert not book.session.may_be_stuck

    @pytest.mark.parametrize("final", ["226 Done", "250 Done"])
    def test_a_2xx_that_comes_late_is_still_426(self, final: str) -> None:
        book = self.broken().client("PWD").silence().server(final)
        assert book.said().startswith("426 ")
        book.server("200 Zzz").expect(to_server("PWD"))

    def test_a_4xx_that_comes_late_is_said(self) -> None:
        book = self.broken().client("PWD").silence().server("426 Cut").expect(to_client("426 Cut"))
        book.server("200 Zzz").expect(to_server("PWD"))

    def test_a_final_word_in_time_needs_no_fence(self) -> None:
        self.broken().client("PWD").server("426 Cut").expect_some(to_client("426 Cut"), to_server("PWD"))

    def test_a_server_that_is_slow_to_answer_the_fence_either_keeps_replies_in_step(self) -> None:
        book = self.broken().client("PWD").silence().ran_out(Clock.ANSWER).expect().ran_out(Clock.ANSWER).expect()
        book.server("200 Zzz").expect(to_server("PWD")).server('257 "/"').expect(to_client('257 "/"'))

    def test_a_client_killed_in_mid_download_leaves_no_session_that_waits_for_ever(self) -> None:
        """Pure-FTPd has no final word for it, and behind the client's FIN no command will ask."""
        book = self.broken().client_lost()
        assert book.session.may_be_stuck
        book.silence().expect_some(Close("the client is gone"))

    def test_an_abor_that_is_not_answered(self) -> None:
        book = transferring("RETR f").client("ABOR").client("PWD").expect().silence().expect_some(to_server("NOOP"))
        book.server("226 Abor").expect(to_client("226 Abor")).server("200 Zzz").expect(to_server("PWD"))

    def test_a_command_that_is_passed_over_in_silence(self) -> None:
        book = Playbook().client("\tNOOP").expect(to_server("\tNOOP"))
        assert not book.session.may_be_stuck
        book.client("PWD").expect().silence().expect(to_server("SYST")).server("215 UNIX").expect(to_server("PWD"))
        book.server('257 "/"').expect(to_client('257 "/"'))

    def test_a_command_that_only_takes_long(self) -> None:
        book = Playbook().client("XSHA256 f\r\nPWD").silence().expect(to_server("SYST"))
        book.server("250 abc").expect(to_client("250 abc")).server("215 UNIX").expect(to_server("PWD"))

    def test_a_login_that_only_takes_long(self) -> None:
        book = Playbook().client("USER ann").server("331 ?").client("PASS x\r\nPWD").silence()
        book.server("230 In").expect_some(to_client("230 In")).server("215 UNIX").expect(to_server("PWD"))
        assert book.session.transferring is False
        book.server('257 "/"').client("RETR f")
        assert book.said().startswith("425 "), "logged in"

    @pytest.mark.parametrize("reply", ["215 UNIX", "500 What"])
    def test_a_syst_that_takes_long(self, reply: str) -> None:
        book = Playbook().client("SYST\r\nPWD").silence().expect(to_server("NOOP")).server(reply)
        book.expect(to_client(reply)).server("200 Zzz").expect(to_server("PWD"))

    def test_a_server_that_works_for_long_keeps_replies_in_step(self) -> None:
        """What is sent meanwhile would get the fence's answer."""
        book = Playbook().client("XSHA256 f\r\nDELE f").silence().ran_out(Clock.ANSWER).expect()
        book.ran_out(Clock.ANSWER).expect().server("250 abc").expect(to_client("250 abc"))
        book.server("215 UNIX").expect(to_server("DELE f")).server("550 No").expect(to_client("550 No"))


class TestTheEndOfTheData:
    """Clean ends without a byte are passed on as they are; ends of half a file never."""

    @pytest.mark.parametrize("reply", ["450 No such file", "550 No files found", "426 Cut"])
    @pytest.mark.parametrize("verb", ["LIST x", "NLST", "RETR f", "MLSD"])
    @pytest.mark.parametrize("reply_first", [False, True])
    def test_nothing_and_then_no(self, verb: str, reply: str, reply_first: bool) -> None:
        book = transferring(verb)
        if reply_first:
            book.server(reply).expect().data_ended(DOWN, empty=True)
        else:
            book.data_ended(DOWN, empty=True).expect().server(reply)
        book.expect_some(Finish(Side.CLIENT), to_client(reply))
        assert not book.clocks
        book.client("PWD").expect(to_server("PWD"))

    @pytest.mark.parametrize("reply_first", [False, True])
    def test_something_and_then_no_is_a_reset(self, reply_first: bool) -> None:
        book = transferring("RETR f")
        book = book.server("426 Cut").data_ended(DOWN) if reply_first else book.data_ended(DOWN).server("426 Cut")
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER), to_client("426 Cut"))

    def test_no_and_then_nothing_at_all_is_a_reset_at_once(self) -> None:
        book = transferring("RETR f").server("451 Disk").expect().ran_out(Clock.LATE_END)
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER), to_client("451 Disk"))

    def test_no_and_then_a_broken_connection_is_a_reset(self) -> None:
        book = transferring("RETR f").server("451 Disk").data_broken(Side.SERVER, empty=True)
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER), to_client("451 Disk"))

    def test_421_is_a_reset_even_behind_nothing(self) -> None:
        book = transferring("LIST").data_ended(DOWN, empty=True).server("421 Bye")
        book.expect_some(Drop(Side.CLIENT), to_client("421 Bye"))

    def test_a_server_that_vanishes_behind_nothing_is_a_reset(self) -> None:
        transferring("LIST").data_ended(DOWN, empty=True).server_lost().expect_some(Drop(Side.CLIENT))

    @pytest.mark.parametrize("verb", ["NLST", "LIST", "MLSD"])
    @pytest.mark.parametrize("reply_first", [False, True])
    def test_a_listing_of_nothing_without_a_data_connection(self, verb: str, reply_first: bool) -> None:
        book = transferring(verb)
        if reply_first:
            book.server("226 Nothing").data_broken(Side.SERVER, empty=True)
        else:
            book.data_broken(Side.SERVER, empty=True).expect(Drop(Side.SERVER)).server("226 Nothing")
        book.expect_some(Finish(Side.CLIENT), to_client("226 Nothing"))

    def test_a_file_without_a_data_connection_is_no_file(self) -> None:
        book = transferring("RETR f").data_broken(Side.SERVER, empty=True).server("226 Done")
        assert book.said().startswith("426 ")

    def test_a_listing_that_broke_behind_its_first_byte_is_no_listing(self) -> None:
        assert transferring("LIST").data_broken(Side.SERVER).server("226 Done").said().startswith("426 ")

    def test_a_listing_of_nothing_that_nobody_connected_for(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)")
        book.data_open(Side.SERVER).client("NLST").ran_out(Clock.EARLY_COMMAND).server("226 Nothing")
        book.expect_some(Finish(Side.CLIENT), to_client("226 Nothing"))
        assert not book.clocks

    def test_a_listing_of_nothing_by_a_server_that_would_have_connected(self) -> None:
        book = Playbook(data_to_server=DataToServer.ACTIVE).client("PASV").listening("192.0.2.10:10001")
        book.listening("198.51.100.1:20001", Side.SERVER).server("200 Ok").data_open(Side.CLIENT).client("NLST")
        book.server("150 Go").server("226 Nothing").ran_out(Clock.LATE_END)
        book.expect_some(Finish(Side.CLIENT), to_client("226 Nothing"))

    def test_a_stream_that_says_itself_that_it_was_cut(self) -> None:
        book = transferring("RETR f").data_ended(DOWN, whole=False).expect(Drop(Side.CLIENT), Drop(Side.SERVER))
        assert book.server("226 Done").said().startswith("426 ")
        transferring("STOR f").data_ended(UP, whole=False).expect(Drop(Side.CLIENT), Drop(Side.SERVER))


class TestTheDirectorsOwnQuestions:
    """EPSV and PASV: what does not work one way is tried the other way."""

    @pytest.mark.parametrize(
        "answer",
        ["200 ok", "425 cannot", "451 cannot", "550 not allowed", "530 not for you", "229 ok (||9999|)", "502 What",
         "229 ok (|||0|)", "229 (|||22|)", "229 ok", "220 Hi", "350 x"],
    )  # fmt: skip
    def test_any_answer_to_epsv_but_a_good_one_leads_to_pasv(self, answer: str) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server(answer)
        book.expect(to_server("PASV")).server(PASV_227).expect_some(SERVER_DATA, DataReady())
        book.client("EPSV").expect_some(to_server("PASV"))

    def test_the_real_server_is_asked_what_the_client_asks(self) -> None:
        for verb in ("PASV", "EPSV"):
            Playbook().client(verb).expect(Listen(Side.CLIENT), to_server(verb))

    def test_a_server_without_pasv(self) -> None:
        book = Playbook().logged_in().client("PASV").listening("192.0.2.10:10001").server("502 No")
        book.expect(to_server("EPSV")).server("229 Ok (|||30001|)")
        assert book.said().startswith("227 ")

    def test_a_server_that_knows_neither_answers_the_clients_own_verb(self) -> None:
        book = Playbook().logged_in().client("PASV").listening("192.0.2.10:10001").server("550 Not here")
        assert book.server("502 What").said() == "550 Not here\r\n"
        assert book.refused == ["550 Not here"]

    def test_silence_leads_on_and_late_answers_are_swallowed(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").ran_out(Clock.ANSWER)
        book.expect(to_server("PASV")).server("229 Ok (|||9999|)").expect().server(PASV_227)
        book.expect_some(SERVER_DATA, DataReady())
        assert book.remembered == ["EPSV is not answered"]

    def test_a_late_refusal_is_not_taken_for_the_next_answer(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").ran_out(Clock.ANSWER)
        book.server("500 What").expect().server(PASV_227).expect_some(SERVER_DATA, DataReady())

    def test_silence_to_both_is_425_and_what_comes_late_reaches_nobody(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").ran_out(Clock.ANSWER)
        assert book.ran_out(Clock.ANSWER).said() == (
            "425 Can't open data connection: the real server does not answer PASV\r\n"
        )
        book.server("229 Ok (|||9999|)").expect().client("PWD").expect(to_server("NOOP"))
        book.server(PASV_227).expect().server("200 Ok").expect(to_server("PWD"))

    def test_a_session_that_epsv_ends_is_remembered(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server_lost()
        assert book.remembered == ["EPSV closes the session"]

    def test_a_port_that_is_refused_is_asked_for_another_way_and_remembered(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||1025|)")
        book.data_failed(Side.SERVER).data_open(Side.CLIENT).client("RETR f")
        book.expect(Drop(Side.SERVER), to_server("PASV")).server(PASV_227).expect(SERVER_DATA)
        book.data_open(Side.SERVER).expect(to_server("RETR f"), StartRelay(DOWN))
        assert book.remembered == ["EPSV names a port that does not serve: refused"]

    def test_a_port_that_is_refused_while_the_transfer_waits(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||1025|)")
        book.data_open(Side.CLIENT).client("RETR f").expect().data_failed(Side.SERVER)
        book.expect(Drop(Side.SERVER), to_server("PASV"))
        assert Clock.EARLY_COMMAND not in book.clocks

    def test_an_ipv6_server_is_never_asked_with_pasv(self) -> None:
        book = Playbook(server=SERVER_6).logged_in().client("PASV").expect(Listen(Side.CLIENT), to_server("EPSV"))
        book.listening("192.0.2.10:10001").server("451 Busy")
        assert book.said() == "425 Can't open data connection: the real server answers EPSV with 451 Busy\r\n"

    def test_feat_that_is_not_answered(self) -> None:
        book = Playbook().client("FEAT").ran_out(Clock.ANSWER)
        assert book.said().startswith("502 ")
        book.client("PWD").expect(to_server("NOOP")).server("211 late").expect().server("200 Ok").expect(
            to_server("PWD")
        )


class TestWhoWaitsForWhom:
    """A client that connects only when it has read 150."""

    def early(self, line: str = "RETR f") -> Playbook:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)")
        return book.data_open(Side.SERVER).client(line).expect().ran_out(Clock.EARLY_COMMAND)

    def test_the_command_is_sent_without_a_data_connection_after_a_while(self) -> None:
        book = self.early().expect(to_server("RETR f"), StartRelay(DOWN)).server("150 Go").expect(to_client("150 Go"))
        assert book.clocks == {Clock.DATA_CONNECTION}
        book.data_open(Side.CLIENT).expect()
        assert not book.clocks
        book.data_ended(DOWN).server("226 Done").expect_some(Finish(Side.CLIENT), to_client("226 Done"))

    def test_an_upload_too(self) -> None:
        book = self.early("STOR f").expect(to_server("STOR f")).server("150 Go")
        book.expect(to_client("150 Go"), StartRelay(UP)).data_open(Side.CLIENT).data_ended(UP)
        book.expect(Finish(Side.SERVER)).server("226 Done").expect_some(to_client("226 Done"))

    @pytest.mark.parametrize("line", ["RETR f", "STOR f"])
    def test_nobody_connects(self, line: str) -> None:
        book = self.early(line).server("150 Go").ran_out(Clock.DATA_CONNECTION)
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER))
        assert book.said().startswith("425 ")
        book.server("426 Cut").expect().client("PWD").expect(to_server("PWD"))

    def test_nobody_connects_and_the_next_command_waits_behind_the_servers_words(self) -> None:
        book = self.early().server("150 Go").ran_out(Clock.DATA_CONNECTION).client("PWD").expect(to_server("NOOP"))
        book.server("226 Done").expect().server("200 Ok").expect(to_server("PWD"))

    def test_the_servers_226_waits_for_the_client(self) -> None:
        book = self.early().server("150 Go").server("226 Done").expect().data_open(Side.CLIENT).data_ended(DOWN)
        book.expect_some(Finish(Side.CLIENT), to_client("226 Done"))

    @pytest.mark.parametrize(("unread", "said"), [(False, "226 Done"), (True, "425 ")])
    def test_a_listing_of_something_that_nobody_fetched_is_not_said_to_be_complete(
        self, unread: bool, said: str
    ) -> None:
        book = self.early("NLST").server("150 Go").server("226 Done").expect()
        book.last = book.session.clock_ran_out(Clock.DATA_CONNECTION, unread=unread)
        assert book.said().startswith(said)
        assert (Finish(Side.CLIENT) in book.last) is not unread
        book.client("PWD").expect(to_server("PWD"))

    def test_a_refusal_does_not_wait(self) -> None:
        book = self.early().server("550 No").expect_some(Drop(Side.CLIENT), to_client("550 No"))
        assert not book.clocks

    def test_a_server_that_does_not_take_its_data_connection_is_waited_for_too(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)")
        book.data_open(Side.CLIENT).client("RETR f").expect().ran_out(Clock.EARLY_COMMAND)
        book.expect(to_server("RETR f"), StartRelay(DOWN)).ran_out(Clock.DATA_CONNECTION)
        assert book.said().startswith("425 Can't open data connection: it does not answer")
        assert book.remembered[0].startswith("EPSV names a port that does not serve")

    def test_abor_ends_it(self) -> None:
        book = self.early().server("150 Go").client("ABOR").expect(to_server("ABOR"), Drop(Side.CLIENT))
        book.server("426 Cut\r\n226 Ok").expect_some(to_client("426 Cut"), to_client("226 Ok"))
        assert not book.clocks


class TestStrangers:
    """A data connection from another address than the client's, as behind a proxy that splits connections."""

    def passive(self) -> Playbook:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)")
        return book.data_open(Side.SERVER)

    def came(self, book: Playbook) -> Playbook:
        return book._after(book.session.stranger_connected("198.18.0.9"))

    @pytest.mark.parametrize("before", [False, True])
    def test_the_client_is_told_soon_and_why(self, before: bool) -> None:
        book = self.passive()
        book = self.came(book).client("RETR f") if before else self.came(book.client("RETR f"))
        why = "Security: bad IP connecting, 198.18.0.9 is not the address of this session"
        assert book.ran_out(Clock.STRANGER).said() == f"425 Can't open data connection: {why}\r\n"
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER)).client("PWD").expect(to_server("PWD"))

    def test_a_client_that_comes_all_the_same_is_served(self) -> None:
        book = self.came(self.passive().client("RETR f")).data_open(Side.CLIENT)
        book.expect(to_server("RETR f"), StartRelay(DOWN))
        assert not book.clocks

    def test_before_a_transfer_nothing_is_said(self) -> None:
        self.came(self.passive()).expect()


class TestKeepalive:
    """FileZilla, lftp and commons-net say NOOP in a transfer."""

    def test_noop_is_answered_at_once(self) -> None:
        book = transferring("RETR f")
        for _ in range(3):
            book.client("NOOP").expect(to_client("200 NOOP command successful."))
        book.data_ended(DOWN).server("226 Done").expect_some(Finish(Side.CLIENT), to_client("226 Done"))
        book.client("NOOP").expect(to_server("NOOP"))

    @pytest.mark.parametrize("stands", [True, False])
    def test_not_before_150_which_it_would_pass_for(self, stands: bool) -> None:
        book = Playbook().logged_in()
        if stands:
            book.passive().client("RETR f\r\nNOOP\r\nNOOP\r\nPWD\r\nNOOP").expect(to_server("RETR f"), StartRelay(DOWN))
        else:
            book.client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)").data_open(Side.SERVER)
            book.client("RETR f\r\nNOOP\r\nNOOP\r\nPWD\r\nNOOP").expect()
            book.data_open(Side.CLIENT).expect(to_server("RETR f"), StartRelay(DOWN))
        answer = to_client("200 NOOP command successful.")
        book.server("150 Go").expect(to_client("150 Go"), answer, answer)
        book.data_ended(DOWN).server("226 Done").expect_some(to_client("226 Done"), to_server("PWD"))

    def test_behind_a_refusal_it_is_the_servers(self) -> None:
        book = Playbook().logged_in().passive().client("RETR f\r\nNOOP").server("550 No")
        book.expect_some(to_client("550 No"), to_server("NOOP"))

    @pytest.mark.parametrize("line", ["STAT\t", "ABOR\t", "ABOR\0", "NOOP\x0b"])
    def test_what_is_no_clean_verb_overtakes_nothing(self, line: str) -> None:
        transferring("RETR f").client(line).expect()

    def test_not_before_commands_that_wait(self) -> None:
        transferring("RETR f").client("PWD").client("NOOP").expect()


class TestReplies:
    """What clients skip is passed on, and ends nothing."""

    def test_a_line_without_a_code_is_passed_on(self) -> None:
        book = Playbook().client("CWD x").server("warning: no motd").expect(to_client("warning: no motd"))
        book.server("250 ok").expect(to_client("250 ok")).server("hello").expect(to_client("hello"))
        book.client("PWD").expect(to_server("PWD"))

    def test_a_line_without_a_code_in_a_transfer(self) -> None:
        book = transferring("RETR f").server("I am slow").expect(to_client("I am slow")).data_ended(DOWN)
        book.server("226 Done").expect_some(Finish(Side.CLIENT), to_client("226 Done"))

    def test_a_line_without_a_code_before_the_answer_to_a_question(self) -> None:
        book = Playbook().client("PASV").listening("192.0.2.10:10001").server("x").expect(to_client("x"))
        book.server(PASV_227).expect_some(SERVER_DATA, DataReady())

    @pytest.mark.parametrize("line", ["XYZ", "HELP", "FEAT"])
    def test_a_data_port_inside_another_reply_reaches_nobody(self, line: str) -> None:
        book = Playbook().client(line).server("211-a\r\n227 (10,0,0,1,4,1)\r\n229-x\r\n 227 of text\r\n211 b")
        assert book.said() == "211-a\r\n 227 of text\r\n211 b\r\n"
        book.client("PWD").expect(to_server("PWD"))

    def test_nor_inside_a_refusal_of_what_the_director_asked(self) -> None:
        book = Playbook().logged_in().client("PASV").listening("192.0.2.10:30001")
        book.server("500-no\r\n227 (10,0,0,1,4,1)\r\n500 no").server("501-a\r\n227 (10,0,0,1,4,1)\r\n501 b")
        assert "227" not in book.said()
        assert "500 no" in book.said()

    def test_nor_as_its_end(self) -> None:
        book = Playbook().client("XYZ").server("200-a\r\n227 (10,0,0,1,4,1)").expect(to_client("200-a"))
        assert book.ran_out(Clock.HALF_REPLY).said() == "502 Not offered here; use PASV or EPSV\r\n"
        book.client("PWD").expect(to_server("PWD"))

    def test_a_long_line_goes_in_pieces(self) -> None:
        book = Playbook().client("SITE X").server("200 " + "x" * 20000)
        assert book.said() == "200 " + "x" * 20000 + "\r\n"
        book.client("PWD").expect(to_server("PWD"))

    @pytest.mark.parametrize("line", ["FEAT", "SYST"])
    def test_of_a_very_long_reply_the_last_line_is_said(self, line: str) -> None:
        book = Playbook().client(line)
        for _ in range(120):
            book.server("211-" + "a" * 20000)
        assert book.server("211 End").said().endswith("\r\n211 End\r\n" if line == "FEAT" else "211 End\r\n")
        book.client("PWD").expect(to_server("PWD"))

    def test_a_last_line_of_another_code(self) -> None:
        """glftpd: `553-` ... `150`."""
        book = Playbook().logged_in().passive().client("STOR f").server("553-\r\n553- Excluded\r\n150 Opening").expect()
        book.ran_out(Clock.HALF_REPLY).expect(ToClient(b"553-\r\n553- Excluded\r\n150 Opening\r\n"), StartRelay(UP))
        book.data_ended(UP).server("226 Ok").expect_some(to_client("226 Ok"))

    def test_a_last_line_of_another_code_behind_a_passed_command(self) -> None:
        book = Playbook().client("CWD x\r\nPWD").server("250-a\r\n200 b").expect(to_client("250-a"), to_client("200 b"))
        book.ran_out(Clock.HALF_REPLY).expect(to_server("PWD"))

    def test_what_only_looks_like_a_last_line(self) -> None:
        book = (
            Playbook()
            .client("STAT\r\nPWD")
            .server("211-a\r\n226 b")
            .server("211 c")
            .expect(to_client("211 c"), to_server("PWD"))
        )
        assert not book.clocks

    def test_an_unfinished_line_is_said_when_the_server_goes(self) -> None:
        book = Playbook().client("QUIT")
        book.last = book.session.server_bytes(b"221-Bye\r\n221 In 5 s")
        book.expect(to_client("221-Bye")).server_lost()
        book.expect_some(to_client("221 In 5 s"), Close("the client said QUIT"))
        assert "421" not in book.said()


class TestLines:
    def test_all_trailing_carriage_returns_go(self) -> None:
        Playbook().client("NOOP\r").expect(to_server("NOOP"))

    def test_a_line_of_blanks_is_the_servers(self) -> None:
        Playbook().client("   ").expect(to_server("   "))

    def test_answers_that_are_due_reach_a_half_closed_client(self) -> None:
        book = Playbook().client("USER ann\r\nPASS x\r\nPWD").client_lost().expect().server("331 ?").server("230 In")
        book.server('257 "/"').expect_some(to_client('257 "/"'), Close("the client is gone"))

    def test_answers_to_abor_reach_it_too(self) -> None:
        book = transferring("RETR f").client("ABOR").client_lost().expect().server("426 a")
        book.expect_some(to_client("426 a"), to_server("NOOP")).server("226 b").expect(to_client("226 b"))
        book.server("200 Ok").expect_some(Close("the client is gone"))

    def test_what_it_is_not_due_holds_nothing_up(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)")
        book.data_open(Side.SERVER).client("RETR f").ran_out(Clock.EARLY_COMMAND).client_lost().expect()
        book.ran_out(Clock.DATA_CONNECTION).expect_some(Close("the client is gone"))

    def test_an_idle_client_that_goes_is_gone(self) -> None:
        Playbook().client_lost().expect_some(Close("the client is gone"))

    @pytest.mark.parametrize("reset", [False, True])
    def test_an_upload_that_is_not_at_its_end_means_killed(self, reset: bool) -> None:
        book = transferring("STOR f").client_lost(reset=reset)
        book.expect_some(Drop(Side.SERVER), Close("the client is gone"))

    def test_an_upload_that_waits_for_its_turn_means_killed_too(self) -> None:
        book = Playbook().logged_in().passive().client("PWD\r\nSTOR f").client_lost().expect().server('257 "/"')
        book.expect_some(to_client('257 "/"'), Drop(Side.SERVER), Close("the client is gone"))
        assert not [action for action in book.last if isinstance(action, ToServer)]

    def test_an_upload_at_its_end_gets_its_reply(self) -> None:
        book = transferring("STOR f").data_ended(UP).client_lost().expect().server("226 Done")
        book.expect_some(to_client("226 Done"), Close("the client is gone"))


class TestClocks:
    def test_a_login_that_never_comes(self) -> None:
        book = Playbook()
        book.clocks.add(Clock.LOGIN)  # the engine starts it with the greeting
        book.client("USER ann").server("331 ?").ran_out(Clock.LOGIN)
        assert book.said().startswith("421 ")
        assert isinstance(book.last[-1], Close)

    def test_a_login_stops_its_clock_and_rein_starts_it(self) -> None:
        book = Playbook()
        book.clocks.add(Clock.LOGIN)
        book.logged_in()
        assert not book.clocks
        book.client("REIN").server("220 Ready")
        assert book.clocks == {Clock.LOGIN}

    def test_what_is_due_from_the_server_is_not_idle(self) -> None:
        assert Playbook().session.awaits_server is False
        assert Playbook().client("XSHA256 f").session.awaits_server is True
        assert Playbook().client("PASV").session.awaits_server is True
        assert transferring("RETR f").session.awaits_server is None, "the relay knows"
        assert transferring("RETR f").data_ended(DOWN).session.awaits_server is True
        assert transferring("RETR f").server("226 Done").session.awaits_server is False
        assert Playbook().passive().client("STOR f").session.awaits_server is True
        assert transferring("STOR f").session.awaits_server is None
        assert transferring("STOR f").data_ended(UP).session.awaits_server is True

    def test_a_reply_that_never_comes(self) -> None:
        book = Playbook().client("XSHA256 f")
        book.last = book.session.not_replied()
        assert book.said().startswith("421 ")


class TestRefusals:
    @pytest.mark.parametrize(
        ("line", "words"),
        [("MODE B", "MODE S"), ("STRU R", "STRU F"), ("AUTH TLS", "TLS"), ("PORT 203,0,113,6,117,49", "not yours"),
         ("LPSV", "EPSV"), ("P@SW", "PASV"), ("EPSV 2", "use (1)"), ("RETR\tf", "")],
    )  # fmt: skip
    def test_a_refusal_says_why_in_the_reply_and_for_the_log(self, line: str, words: str) -> None:
        book = Playbook().client(line)
        assert words in book.said()
        assert book.refused == [book.said().strip()]


class TestTransferLog:
    def path(self, book: Playbook, line: str) -> tuple[str, bool]:
        book.passive().client(line).server("150 Go")
        book = book.data_ended(DOWN if line.startswith(("RETR", "LIST")) else UP).server("226 Done")
        [ended] = [action for action in book.all if isinstance(action, TransferEnded)]
        return ended.path, ended.binary

    def test_the_working_directory_is_followed(self) -> None:
        book = Playbook().logged_in()
        assert self.path(book, "RETR f") == ("f", False), "not known: as it was written"
        book.client("PWD").server('257 "/home/an""n" is the current directory')
        assert self.path(book, "RETR f") == ('/home/an"n/f', False)
        book.client("CWD sub").server("250 Ok").client("TYPE I").server("200 Ok")
        assert self.path(book, "STOR ../x/./y") == ('/home/an"n/x/y', True)
        book.client("CWD gone").server("550 No").client("TYPE A").server("200 Ok")
        assert self.path(book, "RETR f") == ('/home/an"n/sub/f', False)
        book.client("CDUP").server("200 Ok").client("CDUP").server("250 Ok").client("CDUP").server("250 Ok")
        book.client("CDUP").server("250 Ok")
        assert self.path(book, "RETR f") == ("/f", False)
        book.client("CWD /a b").server("250 Ok").client("XCWD c").server('250 "/real/c" is the current directory.')
        assert self.path(book, "RETR d e") == ("/real/c/d e", False)
        assert self.path(book, "LIST -la") == ("-la", False)
        assert self.path(book, "RETR /abs/../f") == ("/f", False)

    @pytest.mark.parametrize("line", ["CWD ~ann", "PWD", "REIN", "USER bob"])
    def test_what_is_not_known_any_more(self, line: str) -> None:
        book = Playbook().logged_in().client("CWD /d").server("250 Ok").client(line)
        book.server("257 somewhere" if line == "PWD" else "220 x" if line == "REIN" else "230 x")
        assert self.path(book, "RETR f") == ("f", False)
