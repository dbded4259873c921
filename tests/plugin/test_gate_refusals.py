"""A site that cannot be looked at: exit 4, a message to act upon, and the JSON says the same."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def refused(site: Any, written: Any) -> Any:
    """Run a gate that has to end before there is an inventory; return what it said."""

    def gate(*args: object, env: dict[str, str] | None = None) -> str:
        result = site.gate("--vmnet-json=out.json", *args, env=env)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        report = written("out.json")
        assert (report["schema"], report["guests"]) == (1, [])
        assert report["run"]["nodes"] == ["pve1"]
        said = " ".join(result.stderr.str().split())
        assert " ".join(report["run"]["error"].split()) in said
        assert not any("exec" in path for _, path in site.asked)
        return said

    return gate


def test_unknown_node(site: Any, refused: Any, written: Any) -> None:
    result = site.gate("--proxmox-node=pve9", "--vmnet-json=out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wanted = "--proxmox-node = 'pve9': there is no such node; the cluster has pve1"
    assert written("out.json")["run"]["error"] == wanted
    assert f"ERROR: {wanted}" in result.stderr.str()


def test_pattern_that_matches_nothing(refused: Any) -> None:
    said = refused("--vmnet-guest=web-*")
    assert "'web-*': no running guest matches; there are: vm-1 (111), vm-2 (112)" in said


def test_pattern_that_is_none(refused: Any) -> None:
    assert "'label:web' names no guest: write a name" in refused("--vmnet-guest=label:web")
    assert "'label:web' names no guest" in refused("--vmnet-rebuildable=label:web")


def test_no_guest_runs(site: Any, refused: Any) -> None:
    for vm in site.pve.vms:
        vm.status = "stopped"
    said = refused()
    assert "nothing to test on pve1: vm-1 (111): stopped; vm-2 (112): stopped; debian (9" in said


def test_wrong_token(refused: Any) -> None:
    said = refused(env={"PROXMOX_VE_API_TOKEN": "root@pam!vmnet=guess-me"})
    assert "Proxmox API: GET version: 401: " in said
    assert "check the token root@pam!vmnet, its secret and its expiry" in said
    assert "guess-me" not in said


def test_token_without_rights(refused: Any) -> None:
    said = refused(env={"PROXMOX_VE_API_TOKEN": "nobody@pve!vmnet=nothing"})
    assert "nobody@pve!vmnet" in said
    assert "VM.Audit" in said
    assert "`vmnet doctor` prints" in said


def test_token_that_may_only_look(site: Any, written: Any) -> None:
    env = {"PROXMOX_VE_API_TOKEN": "auditor@pve!vmnet=look"}
    assert site.gate("--collect-only", env=env).ret == 0
    result = site.gate("--vmnet-json=out.json", env=env)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"errors": 6, "skipped": 8}
    for guest in written("out.json")["guests"]:
        assert guest["verdict"] == "inconclusive"
        assert "403" in guest["findings"][0]["message"]


def test_untrusted_certificate(refused: Any) -> None:
    said = refused(env={"VMNET_PROXMOX_CA": ""})
    assert "the certificate is not trusted; name its CA with --proxmox-ca" in said


def test_insecure_is_a_choice(site: Any) -> None:
    env = {"VMNET_PROXMOX_CA": ""}
    result = site.gate("--collect-only", "-q", "--proxmox-insecure", env=env)
    assert result.ret == 0
    assert "InsecureRequestWarning" not in result.stdout.str()


def test_wrong_ca(certificates: Any, refused: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(certificates.certificate.read_bytes())  # a certificate, but no authority
    said = refused("--proxmox-ca", str(other))
    assert f"the certificate is not trusted by the CA in '{other}'" in said


def test_ca_file_that_holds_no_certificate(refused: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text("no certificate\n", encoding="utf-8")
    said = refused("--proxmox-ca", str(other))
    assert f"CA file '{other}' holds no certificate in PEM form" in said


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def _endpoint(listener: socket.socket) -> dict[str, str]:
    return {"PROXMOX_VE_ENDPOINT": f"https://127.0.0.1:{listener.getsockname()[1]}/"}


def test_api_down(port: socket.socket, refused: Any) -> None:
    env = _endpoint(port)
    port.close()
    said = refused(env=env)
    assert "Proxmox API: GET version: no answer: cannot talk to 127.0.0.1:" in said
    assert "Connection refused" in said


def test_name_that_does_not_resolve(refused: Any) -> None:
    said = refused(env={"PROXMOX_VE_ENDPOINT": "https://pve.invalid:8006/"})
    assert "cannot talk to pve.invalid:8006: " in said


def test_api_that_hangs(port: socket.socket, refused: Any, pytester: Any) -> None:
    pytester.makeconftest("""
        from pytest_vmnet.backends.proxmox import Proxmox

        Proxmox.__init__.__kwdefaults__["timeout_s"] = 0.5
    """)
    said = refused("--rootdir=.", "--confcutdir=.", "-p", "conftest", env=_endpoint(port))
    assert "GET version: no answer: no answer within 0.5 s from 127.0.0.1" in said


def test_something_that_is_no_proxmox(port: socket.socket, refused: Any) -> None:
    def serve() -> None:
        connection, _ = port.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    thread = threading.Thread(target=serve)
    thread.start()
    said = refused(env=_endpoint(port))
    thread.join(10)
    assert "Proxmox API: GET version: no answer: 127.0.0.1:" in said
    assert "does not speak TLS as Proxmox does" in said


@pytest.mark.parametrize(("status", "text"), [(200, "<p>Welcome</p>"), (502, "Bad Gateway")])
def test_page_in_place_of_an_answer(site: Any, refused: Any, status: int, text: str) -> None:
    site.pve.fail("GET", "/version", status, text, html=True)
    said = refused()
    assert "Proxmox API: GET version: " in said
    assert ("the answer is not Proxmox's" if status == 200 else "502") in said


def test_call_that_fails(site: Any, refused: Any) -> None:
    site.pve.fail("GET", "/cluster/resources", 500, "got timeout")
    said = refused()
    assert "Proxmox API: GET cluster/resources: 500: got timeout" in said


def test_call_that_fails_for_one_guest(site: Any, written: Any) -> None:
    site.pve.fail("GET", "/qemu/111/config", 500, "got timeout")
    site.gate("--collect-only", "--vmnet-json=out.json")
    site.gate("--vmnet-json=out.json")
    report = written("out.json")
    told = [each["reason"] for each in report["skipped"] if each["name"] == "vm-1"]
    said = report["run"]["error"] or "".join(told)
    assert "500: got timeout" in said
