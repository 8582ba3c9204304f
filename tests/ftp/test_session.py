"""The session, as conversations: every event, and exactly the actions that follow."""

from ipaddress import ip_address

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
    LoggedIn,
    Outcome,
    Side,
    StartRelay,
    ToClient,
    ToServer,
    TransferEnded,
)
from ftpdirector.ftp.session import MOST_HELD_BYTES
from ftpdirector.model import DataToServer, Endpoint
from ftpdirector.testing.playbook import CLIENT_6, SERVER, SERVER_6, VIRTUAL_6, Playbook, to_client, to_server

PORT = "PORT 203,0,113,5,117,49"
CLIENT_DATA = Endpoint(ip_address("203.0.113.5"), 30001)


def ended(verb: str, path: str, direction: Direction, outcome: Outcome, reply: str) -> TransferEnded:
    return TransferEnded(verb, path, direction, outcome, reply)


def retrieving() -> Playbook:
    """A RETR that the real server has begun."""
    return Playbook().logged_in().passive().client("RETR f").server("150 Go")


def storing() -> Playbook:
    """A STOR that the real server has begun."""
    return Playbook().logged_in().passive().client("STOR f").server("150 Go")


class TestPassingOn:
    def test_commands_and_replies_pass_as_they_are(self) -> None:
        book = Playbook().client("SITE chmod 644 grüße").expect(to_server("SITE chmod 644 grüße"))
        book.server("200-Done\r\nreally\r\n200 .").expect(
            to_client("200-Done"), to_client("really"), to_client("200 .")
        )

    def test_login_is_told_for_the_log(self) -> None:
        book = Playbook().client("USER ann").expect(to_server("USER ann")).server("331 ?").client("PASS x")
        book.server("230 In").expect(to_client("230 In"), LoggedIn("ann"))

    def test_pipelined_commands_go_one_at_a_time(self) -> None:
        book = Playbook().client("PWD\r\nSYST\r\nNOOP").expect(to_server("PWD"))
        book.server('257 "/"').expect(to_client('257 "/"'), to_server("SYST"))
        book.server("215 UNIX").expect(to_client("215 UNIX"), to_server("NOOP"))

    def test_a_preliminary_reply_ends_no_command(self) -> None:
        book = Playbook().client("NOOP\r\nPWD").server("120 Wait").expect(to_client("120 Wait"))
        book.server("200 Ok").expect(to_client("200 Ok"), to_server("PWD"))

    def test_bytes_of_names_are_untouched(self) -> None:
        book = Playbook()
        book.last = book.session.client_bytes(b"SIZE a\xff\xffb\xe9\r\n")
        book.expect(ToServer(b"SIZE a\xff\xffb\xe9\r\n"))

    def test_a_line_too_long_is_answered_in_its_turn(self) -> None:
        book = Playbook().client("PWD\r\n" + "a" * 9000).expect(to_server("PWD"))
        book.server('257 "/"').expect(to_client('257 "/"'), to_client("500 Line too long"))

    def test_a_flood_stops_the_reading_until_it_has_drained(self) -> None:
        book = Playbook().client("PWD")
        book.client("\r\n".join(["NOOP"] * 2000))
        assert not book.session.reading_client
        for _ in range(1500):
            book.server("200 Ok")
        assert book.session.reading_client
        assert MOST_HELD_BYTES < 2000 * 68

    @pytest.mark.parametrize("verb", ["AUTH TLS", "PBSZ 0", "PROT P", "CCC", "CPSV", "LPRT 4", "LPSV", "SSCN ON"])
    def test_what_cannot_pass_is_refused_in_clear_text(self, verb: str) -> None:
        book = Playbook().client(verb)
        assert book.said().startswith("502 ")
        assert not any(isinstance(action, ToServer) for action in book.last)

    @pytest.mark.parametrize("line", ["MODE B", "MODE c", "STRU R", "STRU P"])
    def test_an_end_of_file_inside_the_stream_is_refused(self, line: str) -> None:
        assert Playbook().client(line).said().startswith("504 ")

    @pytest.mark.parametrize("line", ["MODE \0B", "MODE \tB", "MODE S B", "STRU \x0bR", "MODE", "STRU é"])
    def test_a_letter_that_could_be_read_as_another_is_refused(self, line: str) -> None:
        assert Playbook().client(line).said().startswith("501 ")

    @pytest.mark.parametrize("line", ["MODE S", "MODE Z", "STRU F", "TYPE I"])
    def test_other_parameters_pass(self, line: str) -> None:
        Playbook().client(line).expect(to_server(line))

    @pytest.mark.parametrize(
        "reply", ["227 Ok (198,51,100,11,117,49)", "227-Ok\r\n227 (1,2,3,4,5,6)", "228 x", "229 (|||9|)"]
    )
    @pytest.mark.parametrize("line", ["XYZ", "SITE PASV", "FEAT", "HELP"])
    def test_a_data_port_that_was_not_asked_for_reaches_no_client(self, line: str, reply: str) -> None:
        book = Playbook().client(line).server(reply)
        assert book.said() == "502 Not offered here; use PASV or EPSV\r\n"
        book.client("PWD").expect(to_server("PWD")).server('257 "/"').expect(to_client('257 "/"'))
        assert book.server(reply).said() == ""

    def test_a_data_port_that_was_not_asked_for_ends_no_transfer(self) -> None:
        book = retrieving().server("227 Ok (198,51,100,11,117,49)").expect().data_ended(Direction.DOWNLOAD)
        book.server("226 Done").expect_some(Finish(Side.CLIENT), to_client("226 Done"))

    def test_an_empty_line_is_no_command(self) -> None:
        Playbook().client("").expect().client("PWD\r\n\r\nNOOP").expect(to_server("PWD")).server('257 "/"').expect(
            to_client('257 "/"'), to_server("NOOP")
        )

    def test_feat_loses_what_the_director_cannot_do(self) -> None:
        book = Playbook().client("FEAT").expect(to_server("FEAT"))
        book.server("211-Features:\r\n AUTH TLS\r\n EPSV").expect()
        book.server("211 End").expect(ToClient(b"211-Features:\r\n EPSV\r\n211 End\r\n"))
        book.client("NOOP").expect(to_server("NOOP"))


class TestPassive:
    def test_pasv_is_answered_with_our_port(self) -> None:
        book = Playbook().client("PASV").expect(Listen(Side.CLIENT), to_server("PASV"))
        book.listening("192.0.2.10:10001").expect()
        book.server("227 Ok (198,51,100,11,117,49)").expect(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30001)),
            to_client("227 Entering Passive Mode (192,0,2,10,39,17)."),
            DataReady(),
        )

    def test_the_lease_may_come_last(self) -> None:
        book = (
            Playbook()
            .client("EPSV")
            .server("229 Ok (|||30001|)")
            .expect(Connect(Side.SERVER, Endpoint(SERVER.address, 30001)))
        )
        book.listening("192.0.2.10:10001").expect(
            to_client("229 Entering Extended Passive Mode (|||10001|)"), DataReady()
        )

    def test_a_server_without_epsv_is_asked_with_pasv_and_remembered(self) -> None:
        book = Playbook().logged_in().client("EPSV").listening("192.0.2.10:10001")
        book.server("500 What?").expect(to_server("PASV"))
        assert book.remembered == ["EPSV is answered with 500 What?"]
        book.server("227 (10,0,0,1,117,49)").expect_some(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30001)), DataReady()
        )
        book.client("EPSV").expect(Drop(Side.CLIENT), Drop(Side.SERVER), Listen(Side.CLIENT), to_server("PASV"))

    def test_a_refusal_before_the_login_is_the_answer_and_not_remembered(self) -> None:
        book = Playbook().client("EPSV").listening("192.0.2.10:10001").server("530 Login first")
        assert not book.remembered
        book.expect(Drop(Side.CLIENT), Drop(Side.SERVER), to_client("530 Login first"))

    def test_what_was_remembered_is_not_asked(self) -> None:
        Playbook(refused=frozenset({"EPSV"})).client("EPSV").expect(Listen(Side.CLIENT), to_server("PASV"))

    def test_an_ipv6_server_without_epsv_is_425(self) -> None:
        book = Playbook(server=SERVER_6).logged_in().client("PASV").listening("192.0.2.10:10001").server("502 No")
        assert book.said().startswith("425 ")

    @pytest.mark.parametrize("reply", ["229 Ok (|||80|)", "229 Ok", "200 Ok", "220 Hi", "350 x"])
    def test_a_port_that_is_not_followed_is_425(self, reply: str) -> None:
        book = Playbook(server=SERVER_6).logged_in().client("EPSV").listening("192.0.2.10:10001").server(reply)
        assert book.said().startswith("425 Can't open data connection: ")
        assert book.refused == [book.said().strip()]
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER))
        book.client("NOOP").expect(to_server("NOOP"))

    def test_no_free_port_is_425_once_the_server_has_answered(self) -> None:
        book = Playbook().client("PASV").listen_failed().expect()
        assert book.server("227 Ok (198,51,100,11,117,49)").said().startswith("425 ")
        book.client("NOOP").expect(to_server("NOOP"))

    def test_a_new_pasv_drops_the_old_data_connections(self) -> None:
        Playbook().passive().client("PASV").expect(
            Drop(Side.CLIENT), Drop(Side.SERVER), Listen(Side.CLIENT), to_server("PASV")
        )

    def test_pasv_knows_no_ipv6(self) -> None:
        book = Playbook(client=CLIENT_6, virtual=VIRTUAL_6).client("PASV")
        assert book.said().startswith("425 ")
        assert len(book.last) == 1

    def test_an_ipv6_client_reaches_an_ipv4_server(self) -> None:
        book = Playbook(client=CLIENT_6, virtual=VIRTUAL_6).client("EPSV 2").listening("[2001:db8:2::10]:10001")
        book.server("229 Ok (|||30001|)").expect(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30001)),
            to_client("229 Entering Extended Passive Mode (|||10001|)"),
            DataReady(),
        )

    @pytest.mark.parametrize(
        ("line", "code"), [("EPSV 2", "522"), ("EPSV 3", "522"), ("EPSV x", "501"), ("EPSV ALL", "200")]
    )
    def test_epsv_arguments(self, line: str, code: str) -> None:
        assert Playbook().client(line).said().startswith(code)

    @pytest.mark.parametrize("line", ["PASV", PORT, "EPRT |1|203.0.113.5|30001|"])
    def test_after_epsv_all_only_epsv(self, line: str) -> None:
        book = Playbook().client("EPSV ALL")
        assert book.client(line).said().startswith("503 ")
        book.client("EPSV").expect(Listen(Side.CLIENT), to_server("EPSV"))


class TestActive:
    def test_port_opens_nothing_toward_the_client_yet(self) -> None:
        book = Playbook().client(PORT).expect(to_server("PASV"))
        book.server("227 Ok (198,51,100,11,117,49)").expect(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30001)),
            to_client("200 PORT command successful."),
            DataReady(),
        )
        book.data_open(Side.SERVER).client("RETR f").expect(Connect(Side.CLIENT, CLIENT_DATA))
        book.data_open(Side.CLIENT).expect(to_server("RETR f"), StartRelay(Direction.DOWNLOAD))

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("PORT 203,0,113,6,117,49", "500"),
            ("PORT 203,0,113,5,0,25", "500"),
            ("EPRT |1|203.0.113.6|30001|", "500"),
            ("EPRT |1|203.0.113.5|1023|", "500"),
            ("EPRT |2|2001:db8:1::5|30001|", "522"),
            ("PORT 1,2", "501"),
        ],
    )
    def test_a_bounce_opens_nothing(self, line: str, code: str) -> None:
        """RFC 2577 section 3."""
        book = Playbook().client(line)
        assert book.said().startswith(code)
        assert len(book.last) == 1

    def test_a_mapped_client_address_is_the_clients_own(self) -> None:
        mapped = Endpoint(ip_address("::ffff:203.0.113.5"), 40000)
        Playbook(client=mapped).client(PORT).expect(to_server("PASV"))

    def test_several_transfers_after_one_port(self) -> None:
        book = Playbook().client(PORT).server("227 Ok (198,51,100,11,117,49)").data_open(Side.SERVER).client("LIST")
        book.data_open(Side.CLIENT).server("150 Go").data_ended(Direction.DOWNLOAD).server("226 Done")
        book.client("LIST").expect(to_server("PASV"))
        book.server("227 Ok (198,51,100,11,117,50)").expect(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30002)), Connect(Side.CLIENT, CLIENT_DATA)
        )
        book.data_open(Side.SERVER).expect().data_open(Side.CLIENT).expect(
            to_server("LIST"), StartRelay(Direction.DOWNLOAD)
        )

    def test_server_data_is_opened_before_rest_never_after(self) -> None:
        book = Playbook().client(PORT).server("227 Ok (198,51,100,11,117,49)").client("LIST")
        book.data_open(Side.CLIENT).data_open(Side.SERVER)
        book.server("150 Go").data_ended(Direction.DOWNLOAD).server("226 Done")
        book.client("REST 5").expect(to_server("PASV"))
        book.server("227 Ok (198,51,100,11,117,50)").expect(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30002)), to_server("REST 5")
        )
        book.server("350 Ok").expect(to_client("350 Ok"))
        book.client("RETR f").expect(Connect(Side.CLIENT, CLIENT_DATA))

    def test_data_to_server_active(self) -> None:
        book = (
            Playbook(data_to_server=DataToServer.ACTIVE).client("PASV").expect(Listen(Side.CLIENT), Listen(Side.SERVER))
        )
        book.listening("192.0.2.10:10001").expect()
        book.listening("198.51.100.1:20001", Side.SERVER).expect(to_server("PORT 198,51,100,1,78,33"))
        book.server("200 Ok").expect(to_client("227 Entering Passive Mode (192,0,2,10,39,17)."), DataReady())
        book.data_open(Side.CLIENT).client("RETR f").expect(to_server("RETR f"), StartRelay(Direction.DOWNLOAD))

    def test_data_to_server_active_over_ipv6(self) -> None:
        book = Playbook(data_to_server=DataToServer.ACTIVE, server=SERVER_6).client(PORT).expect(Listen(Side.SERVER))
        book.listening("[2001:db8:3::1]:20001", Side.SERVER).expect(to_server("EPRT |2|2001:db8:3::1|20001|"))
        assert book.server("501 No").said() == "501 No\r\n"

    def test_data_to_server_as_the_client_asked(self) -> None:
        policy = DataToServer.CLIENT
        Playbook(data_to_server=policy).client("PASV").expect(Listen(Side.CLIENT), to_server("PASV"))
        Playbook(data_to_server=policy).client(PORT).expect(Listen(Side.SERVER))


class TestDownload:
    def test_226_comes_behind_the_end_of_the_data(self) -> None:
        book = retrieving().expect(to_client("150 Go")).data_ended(Direction.DOWNLOAD).expect()
        book.server("226 Done").expect(
            Finish(Side.CLIENT),
            to_client("226 Done"),
            ended("RETR", "f", Direction.DOWNLOAD, Outcome.COMPLETE, "226 Done"),
        )

    def test_226_before_the_end_of_the_data_waits(self) -> None:
        book = retrieving().server("226 Done").expect()
        book.data_ended(Direction.DOWNLOAD).expect(
            Finish(Side.CLIENT),
            to_client("226 Done"),
            ended("RETR", "f", Direction.DOWNLOAD, Outcome.COMPLETE, "226 Done"),
        )

    def test_a_refusal_resets_both(self) -> None:
        book = Playbook().passive().client("RETR f").server("550 No")
        book.expect(
            Drop(Side.CLIENT),
            Drop(Side.SERVER),
            to_client("550 No"),
            ended("RETR", "f", Direction.DOWNLOAD, Outcome.REFUSED, "550 No"),
        )

    def test_a_failure_after_the_end_resets_the_client(self) -> None:
        """A killed sender gives a clean end of stream: the reply decides."""
        book = retrieving().data_ended(Direction.DOWNLOAD).server("451 Disk")
        book.expect_some(Drop(Side.CLIENT), to_client("451 Disk"))
        assert Finish(Side.CLIENT) not in book.last

    def test_a_lost_server_resets_the_client(self) -> None:
        book = retrieving().data_ended(Direction.DOWNLOAD).server_lost()
        book.expect_some(Drop(Side.CLIENT), Close("the real server is gone"))
        assert book.said().startswith("421 ")
        assert Finish(Side.CLIENT) not in book.last

    def test_a_server_lost_behind_its_226_harms_no_file(self) -> None:
        book = retrieving().server("226 Done").server_lost().expect()
        book.data_ended(Direction.DOWNLOAD)
        book.expect_some(Finish(Side.CLIENT), to_client("226 Done"), Close("the real server is gone"))

    @pytest.mark.parametrize("side", [Side.SERVER, Side.CLIENT])
    def test_a_2xx_after_broken_data_is_426(self, side: Side) -> None:
        book = retrieving().data_broken(side).expect(Drop(Side.CLIENT), Drop(Side.SERVER)).server("226 Done")
        assert book.said().startswith("426 ")

    def test_a_client_that_resets_behind_the_last_byte_changes_nothing(self) -> None:
        book = retrieving().data_ended(Direction.DOWNLOAD).data_broken(Side.CLIENT).expect()
        assert book.server("226 Done").said() == "226 Done\r\n"

    def test_a_client_that_was_reset_resets_all(self) -> None:
        book = retrieving().client_lost(reset=True)
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER), Close("the client is gone"))

    def test_a_client_that_closed_its_half_still_gets_its_answers(self) -> None:
        book = retrieving().client("PWD").client_lost().expect().data_ended(Direction.DOWNLOAD).server("226 Done")
        book.expect_some(Finish(Side.CLIENT), to_client("226 Done"), to_server("PWD"))
        book.server('257 "/"').expect_some(to_client('257 "/"'), Close("the client is gone"))

    def test_a_client_that_said_quit_may_close_its_half(self) -> None:
        book = retrieving().client("QUIT").expect().client_lost().expect().data_ended(Direction.DOWNLOAD)
        book.server("226 Done").expect_some(Finish(Side.CLIENT), to_client("226 Done"), to_server("QUIT"))
        book.server("221 Bye").expect_some(to_client("221 Bye"), Close("the client said QUIT"))

    def test_without_pasv_or_port_the_server_says_so(self) -> None:
        book = Playbook().client("RETR f").expect(to_server("RETR f"))
        book.server("425 Use PORT").expect_some(to_client("425 Use PORT"))

    def test_without_data_no_2xx_is_believed(self) -> None:
        assert Playbook().client("RETR f").server("226 Done").said().startswith("426 ")

    def test_a_second_transfer_without_a_new_pasv_is_refused(self) -> None:
        """The real server does not hear of it: some say 150 then, and wait for ever."""
        book = retrieving().data_ended(Direction.DOWNLOAD).server("226 Done").client("RETR g")
        book.expect_some(ToClient(b"425 Can't open data connection: use PASV or PORT first\r\n"))
        assert not [action for action in book.last if isinstance(action, ToServer)]
        book.client("PASV").expect_some(to_server("PASV"))

    def test_a_transfer_before_the_login_is_the_servers_to_refuse(self) -> None:
        Playbook().client("RETR f").expect(to_server("RETR f"))

    def test_many_lines_of_226_are_one_reply(self) -> None:
        book = retrieving().data_ended(Direction.DOWNLOAD).server("226-Done").expect()
        book.server("226 in 1 s").expect_some(Finish(Side.CLIENT), ToClient(b"226-Done\r\n226 in 1 s\r\n"))


class TestWaitingForTheClient:
    def waiting(self) -> Playbook:
        book = (
            Playbook()
            .client("PASV")
            .listening("192.0.2.10:10001")
            .server("227 Ok (198,51,100,11,117,49)")
            .data_open(Side.SERVER)
        )
        return book.client("RETR f").expect()

    def test_the_server_hears_of_it_once_the_client_is_there(self) -> None:
        book = self.waiting()
        assert book.clocks == {Clock.LOGIN, Clock.EARLY_COMMAND, Clock.DATA_CONNECTION} - {Clock.LOGIN}
        book.data_open(Side.CLIENT).expect(to_server("RETR f"), StartRelay(Direction.DOWNLOAD))

    @pytest.mark.parametrize("times_out", [True, False])
    def test_a_client_that_does_not_come_is_425(self, times_out: bool) -> None:
        book = self.waiting()
        book = book.ran_out(Clock.DATA_CONNECTION) if times_out else book.data_failed(Side.CLIENT)
        assert book.said().startswith("425 ")
        assert not book.clocks
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER))
        assert not any(isinstance(action, ToServer) for action in book.last)
        book.client("NOOP").expect(to_server("NOOP"))

    def test_server_data_that_fails_is_asked_for_another_way(self) -> None:
        book = Playbook().client("PASV").listening("192.0.2.10:10001").server("227 Ok (198,51,100,11,117,49)")
        book.data_failed(Side.SERVER).expect().data_open(Side.CLIENT)
        book.client("RETR f").expect(Drop(Side.SERVER), to_server("EPSV")).server("229 Ok (|||30002|)")
        book.expect(Connect(Side.SERVER, Endpoint(SERVER.address, 30002))).data_open(Side.SERVER)
        book.expect(to_server("RETR f"), StartRelay(Direction.DOWNLOAD))

    def test_server_data_that_fails_both_ways_is_425_and_the_command_stays_here(self) -> None:
        book = Playbook().logged_in().client("PASV").listening("192.0.2.10:10001").server("227 Ok (10,0,0,9,117,49)")
        book.data_failed(Side.SERVER).data_open(Side.CLIENT).client("RETR f").server("502 What")
        assert book.said().startswith("425 Can't open data connection: the real server answers EPSV with 502 What")
        assert not any(isinstance(action, ToServer) for action in book.last)

    def test_why_it_fails_is_told(self) -> None:
        book = Playbook(refused=frozenset({"EPSV"})).client("PASV").listening("192.0.2.10:10001")
        book.server("227 Ok (10,0,0,9,117,49)").data_failed(Side.SERVER).data_open(Side.CLIENT).client("RETR f")
        assert book.said() == (
            "425 Can't open data connection: refused, for the port that the real server named"
            " (it named 10.0.0.9; only its own address, 198.51.100.11, is connected to)\r\n"
        )

    def test_between_rest_and_its_transfer_nothing_is_asked(self) -> None:
        book = Playbook().client("PASV").listening("192.0.2.10:10001").server("227 Ok (198,51,100,11,117,49)")
        book.data_open(Side.CLIENT).client("REST 5").server("350 Ok").data_failed(Side.SERVER).client("RETR f")
        assert book.said().startswith("425 ")

    def test_abor_is_answered_here(self) -> None:
        book = self.waiting().client("ABOR")
        assert book.said() == "426 Transfer aborted.\r\n226 ABOR command successful.\r\n"
        assert not any(isinstance(action, ToServer) for action in book.last)

    def test_abor_while_server_data_is_reopened_swallows_the_announcement(self) -> None:
        book = Playbook().client(PORT).server("227 Ok (198,51,100,11,117,49)").client("LIST")
        book.data_open(Side.CLIENT).data_open(Side.SERVER)
        book.server("150 Go").data_ended(Direction.DOWNLOAD).server("226 Done").client("LIST").client("ABOR")
        assert book.said().startswith("426 ")
        book.server("227 Ok (198,51,100,11,117,50)").expect(
            Connect(Side.SERVER, Endpoint(SERVER.address, 30002)), Drop(Side.SERVER)
        )
        book.client("NOOP").expect(to_server("NOOP"))


class TestUpload:
    def test_it_flows_from_150_on_and_ends_at_the_server(self) -> None:
        book = Playbook().passive().client("STOR f").expect(to_server("STOR f"))
        book.server("150 Go").expect(to_client("150 Go"), StartRelay(Direction.UPLOAD))
        book.data_ended(Direction.UPLOAD).expect(Finish(Side.SERVER))
        book.server("226 Done").expect(
            to_client("226 Done"), ended("STOR", "f", Direction.UPLOAD, Outcome.COMPLETE, "226 Done")
        )

    def test_a_refusal_resets_both(self) -> None:
        storing().server("552 Full").expect_some(Drop(Side.CLIENT), Drop(Side.SERVER), to_client("552 Full"))

    def test_a_client_that_vanishes_resets_the_server(self) -> None:
        book = storing().client_lost().expect_some(Drop(Side.SERVER), Close("the client is gone"))
        assert Finish(Side.SERVER) not in book.last

    def test_a_client_that_goes_behind_its_file_harms_nothing(self) -> None:
        book = storing().data_ended(Direction.UPLOAD).client_lost()
        assert Drop(Side.SERVER) not in book.last

    def test_a_client_whose_data_is_reset_never_reads_2xx(self) -> None:
        book = storing().data_broken(Side.CLIENT).expect(Drop(Side.CLIENT), Drop(Side.SERVER)).server("226 Done")
        assert book.said().startswith("426 ")

    def test_a_2xx_before_the_file_has_ended_is_not_believed(self) -> None:
        book = storing().server("226 Done").expect_some(Drop(Side.CLIENT), Drop(Side.SERVER))
        assert book.said().startswith("426 ")

    def test_no_data_flows_before_150(self) -> None:
        book = Playbook().passive().client("STOR f").data_ended(Direction.UPLOAD).expect()
        assert book.server("226 Done").said().startswith("426 ")


class TestAbor:
    def aborting(self) -> Playbook:
        return retrieving().client("ABOR")

    def test_it_goes_at_once_as_it_came_and_the_reset_does_not_overtake_it(self) -> None:
        book = self.aborting().expect(to_server("ABOR"), Drop(Side.CLIENT))
        book.ran_out(Clock.LATE_END).expect(Drop(Side.SERVER))
        book.server("426 a").server("226 b").client("NOOP").expect(to_server("NOOP"))

    def test_in_an_upload_that_is_at_its_end_nothing_is_reset(self) -> None:
        book = storing().data_ended(Direction.UPLOAD).client("ABOR").expect(to_server("ABOR"), Drop(Side.CLIENT))
        assert not book.clocks
        assert Drop(Side.SERVER) not in book.server("226 Done").last

    def test_behind_a_synch_it_goes_on_as_a_synch(self) -> None:
        book = retrieving()
        book.last = book.session.client_bytes(b"\xff\xf4\xff\xf2ABOR\r\n")
        book.expect_some(ToServer(b"\xff\xf4\xff", urgent=True), ToServer(b"\xf2ABOR\r\n"), Drop(Side.CLIENT))

    @pytest.mark.parametrize(("first", "second"), [("426", "226"), ("426", "225"), ("226", "225"), ("226", "226")])
    def test_two_replies_in_their_order(self, first: str, second: str) -> None:
        book = self.aborting().server(f"{first} a")
        book.expect(
            Drop(Side.SERVER),
            to_client(f"{first} a"),
            ended("RETR", "f", Direction.DOWNLOAD, Outcome.ABORTED, f"{first} a"),
        )
        assert not book.clocks
        book.server(f"{second} b").expect(to_client(f"{second} b"))
        book.client("NOOP").expect(to_server("NOOP")).server("200 Ok").expect(to_client("200 Ok"))

    @pytest.mark.parametrize("code", ["225", "226", "426"])
    def test_a_server_that_answers_once_hangs_nothing(self, code: str) -> None:
        book = self.aborting().server(f"{code} a").client("PWD").expect(to_server("NOOP"))
        book.server("200 Ok").expect(to_server("PWD")).server('257 "/"').expect(to_client('257 "/"'))

    def test_a_late_second_reply_is_told_from_the_next_commands(self) -> None:
        book = self.aborting().server("426 a").client("EPSV").expect(to_server("NOOP"))
        book.server("226 b").expect(to_client("226 b")).server("200 Ok").expect(Listen(Side.CLIENT), to_server("EPSV"))

    def test_a_server_that_does_not_know_abor(self) -> None:
        book = self.aborting().server("226 a").client("PWD").server("502 b").expect(to_client("502 b"))
        book.server("200 Ok").expect(to_server("PWD"))

    def test_idle_it_passes(self) -> None:
        Playbook().client("ABOR").expect(to_server("ABOR")).server("225 Ok").expect(to_client("225 Ok"))

    def test_behind_the_servers_226_the_client_is_reset_and_abor_passes(self) -> None:
        book = retrieving().server("226 Done").client("ABOR")
        assert book.said().startswith("426 ")
        book.expect_some(Drop(Side.CLIENT), Drop(Side.SERVER), to_server("ABOR"))

    def test_it_overtakes_what_waits_for_the_transfer(self) -> None:
        book = retrieving().client("PWD").expect().client("ABOR").expect_some(to_server("ABOR"))
        book.server("426 a").expect_some(to_client("426 a"), to_server("NOOP")).server("226 b").expect(
            to_client("226 b")
        )
        book.server("200 Ok").expect(to_server("PWD"))

    def test_it_overtakes_nothing_where_there_is_nothing_to_abort(self) -> None:
        Playbook().client("XSHA256 f\r\nPWD").client("ABOR").expect()

    def test_it_is_not_held_behind_a_command_that_takes_long(self) -> None:
        book = Playbook().client("XSHA256 f").client("ABOR").expect(to_server("ABOR"))
        book.server("426 a").expect(to_client("426 a")).server("226 b").expect(to_client("226 b"))
        book.client("PWD").expect(to_server("PWD"))

    def test_it_is_not_held_and_gets_one_reply_for_two(self) -> None:
        book = Playbook().client("XSHA256 f").client("ABOR").server("250 a").client("PWD").expect(to_server("NOOP"))
        book.server("225 b").expect(to_client("225 b")).server("200 c").expect(to_server("PWD"))


class TestStat:
    def test_during_a_transfer_it_goes_at_once_and_its_reply_is_not_the_transfers(self) -> None:
        book = retrieving().client("STAT").expect(to_server("STAT"))
        book.server("211-Status\r\n half\r\n211 End").expect(ToClient(b"211-Status\r\n half\r\n211 End\r\n"))
        book.data_ended(Direction.DOWNLOAD).server("226 Done").expect_some(Finish(Side.CLIENT), to_client("226 Done"))

    def test_a_server_may_answer_it_behind_the_transfer(self) -> None:
        book = retrieving().client("STAT").data_ended(Direction.DOWNLOAD).server("226 Done")
        book.expect_some(Finish(Side.CLIENT), to_client("226 Done"))
        book.server("211 Idle").expect(to_client("211 Idle")).client("NOOP").expect(to_server("NOOP"))

    def test_a_server_that_does_not_know_it(self) -> None:
        book = retrieving().client("STAT").server("502 No").expect(to_client("502 No"))
        book.data_ended(Direction.DOWNLOAD).server("226 Done").expect_some(Finish(Side.CLIENT))

    def test_with_an_argument_it_is_a_listing_that_waits_its_turn(self) -> None:
        Playbook().client("STAT /").expect(to_server("STAT /"))
        retrieving().client("STAT /").expect()


class TestUnknownCommands:
    def test_1xx_with_data_set_up_begins_a_transfer(self) -> None:
        book = Playbook().passive().client("XFER f").expect(to_server("XFER f"))
        book.server("150 Go").expect(to_client("150 Go"), StartRelay(Direction.BOTH))
        book.data_ended(Direction.DOWNLOAD).expect().server("226 Done").expect_some(
            Finish(Side.CLIENT), to_client("226 Done")
        )

    def test_it_may_be_an_upload(self) -> None:
        book = Playbook().passive().client("XPUT f").server("150 Go").data_ended(Direction.UPLOAD)
        book.expect(Finish(Side.SERVER)).server("226 Done").expect_some(to_client("226 Done"))
        assert Finish(Side.CLIENT) not in book.last

    def test_without_data_it_passes(self) -> None:
        book = Playbook().client("XYZ").server("150 Go").expect(to_client("150 Go"))
        book.server("250 Ok").expect(to_client("250 Ok"))


class TestEnds:
    def test_quit(self) -> None:
        book = Playbook().client("QUIT").expect(to_server("QUIT")).server("221 Bye").expect(to_client("221 Bye"))
        book.server_lost()
        assert book.said() == ""
        book.expect_some(Close("the client said QUIT"))

    def test_a_server_that_goes_is_told_once(self) -> None:
        assert Playbook().server_lost().said().startswith("421 ")
        assert Playbook().server("421 Idle").expect(to_client("421 Idle")).server_lost().said() == ""

    def test_idle(self) -> None:
        book = Playbook().idle_timed_out()
        assert book.said().startswith("421 ")
        assert isinstance(book.last[-1], Close)

    def test_after_the_end_nothing_is_done(self) -> None:
        book = Playbook().client_lost()
        book.client("NOOP").expect().server("200 Ok").expect().idle_timed_out().expect().client_lost().expect()
        book.shutting_down().expect()

    def test_shutting_down_at_once_when_nothing_runs(self) -> None:
        book = Playbook().shutting_down()
        assert book.said().startswith("421 ")
        assert isinstance(book.last[-1], Close)

    def test_shutting_down_behind_a_transfer(self) -> None:
        book = retrieving().shutting_down().expect()
        assert book.session.transferring
        book.data_ended(Direction.DOWNLOAD).server("226 Done")
        book.expect_some(Finish(Side.CLIENT), to_client("226 Done"))
        assert isinstance(book.last[-1], Close)

    def test_rein_resets_what_was_set_up(self) -> None:
        """RFC 959 section 4.1.1."""
        book = Playbook().client(PORT).server("227 Ok (198,51,100,11,117,49)").client("REIN").server("220 Ready")
        book.expect(to_client("220 Ready"), Drop(Side.SERVER)).client("RETR f").expect(to_server("RETR f"))

    def test_user_keeps_port_in_force(self) -> None:
        """RFC 959 section 4.1.1: all transfer parameters are unchanged."""
        book = Playbook().client(PORT).server("227 Ok (198,51,100,11,117,49)").client("USER bob").server("331 ?")
        book.client("LIST").expect(Connect(Side.CLIENT, CLIENT_DATA))
