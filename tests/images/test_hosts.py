"""Which hosts are asked: 0 bytes reach this machine, whatever a URL looks like and whichever way it comes in."""

from __future__ import annotations

import ipaddress
import re

import pytest
from langchain_core.messages import HumanMessage

from langchain_vipllava import (
    ChatVipLlava,
    FetchPolicy,
    ImageError,
    ImageStore,
    VipLlavaError,
    VipLlavaToolkit,
    Workspace,
    keep_images,
    load_image,
)
from langchain_vipllava.images.networks import is_metadata, is_public
from tests.images.hosts import REFUSED
from tests.support.echo import EchoBackend
from tests.support.hostile_web import PUBLIC, Internet, Resolver, Server
from tests.support.tool_caller import ToolCaller


@pytest.fixture
def listener():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def llm():
    return ChatVipLlava(backend=EchoBackend())


def ways_in(llm):
    """Every function that takes a URL from outside; each raises for a host that is refused."""
    workspace, caller = Workspace(), ToolCaller(VipLlavaToolkit(chat_model=llm))

    def ask(block):
        return llm.invoke([HumanMessage([block, {"type": "text", "text": "What is it?"}])])

    def call_tool(url):
        raise ImageError(caller.call_expecting_error("open_image", source=url))

    return {
        "load_image": load_image,
        "image_url": lambda url: ask({"type": "image_url", "image_url": {"url": url}}),
        "url block": lambda url: ask({"type": "image", "url": url}),
        "source block": lambda url: ask({"type": "image", "source": {"type": "url", "url": url}}),
        "stream": lambda url: list(llm.stream([HumanMessage([{"type": "image", "url": url}])])),
        "open_image": call_tool,
        "Workspace.open": workspace.open,
    }


def test_refused_hosts_receive_nothing_whichever_way_they_come_in(listener, llm, monkeypatch):
    Resolver().install(monkeypatch)  # every name stands for loopback: one that is looked up by mistake arrives
    assert len(REFUSED) == len(set(REFUSED)) > 150
    for name, open_url in ways_in(llm).items():
        for form in REFUSED:
            url = form.format(port=listener.port)
            with pytest.raises(VipLlavaError) as caught:
                open_url(url)
            assert "secret" not in str(caught.value), (name, url)
            assert listener.connections == 0, (name, url)
    with pytest.raises(ImageError):  # the listener does count
        load_image(listener.url, fetch_policy=FetchPolicy(private_hosts=True, timeout=0.5))
    assert listener.connections == 1
    assert listener.received.startswith(b"GET / HTTP/1.1")


def test_counting_tokens_and_keeping_images_fetch_nothing(listener, llm, monkeypatch):
    resolver = Resolver().install(monkeypatch)
    message = HumanMessage([{"type": "image", "url": f"http://images.example:{listener.port}/a.png"}, "What is it?"])
    assert llm.get_num_tokens_from_messages([message]) > 0
    assert keep_images([message], ImageStore()) == [message]
    assert resolver.asked == []
    assert listener.connections == 0


@pytest.mark.parametrize("form", REFUSED)
def test_private_hosts_are_refused_as_targets_of_redirects(form, listener, monkeypatch):
    target = form.format(port=listener.port)
    location = re.sub(r"[\r\n\0]", "%0a", target).encode()

    def redirect(connection):
        web.request(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location)

    web = Server(redirect)
    resolver = Resolver({"images.example": [[PUBLIC]]}).install(monkeypatch)
    internet = Internet(monkeypatch, {PUBLIC: web})
    try:
        with pytest.raises(ImageError) as caught:
            load_image("http://images.example/a.png")
    finally:
        web.close()
    assert listener.connections == 0
    assert set(internet.connected) == {(PUBLIC, 80)}
    assert resolver.asked[0] == "images.example"
    assert "'http://images.example/a.png'" in str(caught.value)


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_checked(listener, monkeypatch):
    """The finding: the second look-up of the old code answered 127.0.0.1, and `GET` arrived there."""
    resolver = Resolver({"rebind.example": [[PUBLIC], ["127.0.0.1"]]}).install(monkeypatch)
    web = Server(lambda connection: connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n"))
    internet = Internet(monkeypatch, {PUBLIC: web})
    try:
        with pytest.raises(ImageError, match="status 404"):
            load_image(f"http://rebind.example:{listener.port}/ok?admin=delete")
    finally:
        web.close()
    assert internet.connected == [(PUBLIC, listener.port)]
    assert resolver.asked == ["rebind.example"]
    assert listener.connections == 0
    with pytest.raises(ImageError, match="private network"):
        load_image(f"http://rebind.example:{listener.port}/ok?admin=delete")
    assert listener.connections == 0


@pytest.mark.parametrize("others", [["127.0.0.1"], ["::1"], ["10.0.0.7"], ["64:ff9b::7f00:1"], ["::ffff:127.0.0.1"]])
@pytest.mark.parametrize("public_first", [True, False])
def test_one_private_address_among_public_ones_refuses_the_host(others, public_first, listener, monkeypatch):
    addresses = [PUBLIC, *others] if public_first else [*others, PUBLIC]
    Resolver({"images.example": [addresses]}).install(monkeypatch)
    internet = Internet(monkeypatch, {PUBLIC: listener})
    with pytest.raises(ImageError, match="private network"):
        load_image(f"http://images.example:{listener.port}/a.png")
    assert internet.connected == []
    assert listener.connections == 0


def test_refused_unknown_and_silent_hosts_have_one_text(listener, monkeypatch):
    closed = Server()
    closed.close()
    Internet(monkeypatch, {PUBLIC: closed})
    names = {"private.example": [["10.1.2.3"]], "here.example": [["127.0.0.1"]], "unknown.example": [[]],
             "silent.example": [[PUBLIC]]}  # fmt: skip
    Resolver(names).install(monkeypatch)
    texts = set()
    for host in [*names, "127.0.0.1", "10.1.2.3", "[::1]", "localhost", "metadata.google.internal", "1.2.3.4.5"]:
        for port in (listener.port, closed.port):
            with pytest.raises(ImageError) as caught:
                load_image(f"http://{host}:{port}/a.png?token=secret")
            text = str(caught.value)
            assert text.count(host) == 1
            texts.add(text.replace(f"{host}:{port}", "HOST"))
            assert caught.value.__cause__ is None
            assert not re.search(r"10\.9\.8\.7|secret|not known|refused", text)
    assert len(texts) == 1
    assert listener.connections == 0


def answer_with_pixel(server):
    pixel = bytes.fromhex("47494638396101000100800000ff0000ffffff21f90400000000002c00000000010001000002024401003b")

    def serve(connection):
        server().request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(pixel) + pixel)

    return serve


@pytest.fixture
def web():
    server = Server(answer_with_pixel(lambda: server))
    yield server
    server.close()


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:220:1::1", "64:ff9b::5db8:d822", "64:ff9b:1:5db8:d8:2200::",
                                     "64:ff9b:1::5db8:d822", "::ffff:93.184.216.34"])  # fmt: skip
def test_public_hosts_stay_usable_also_through_nat64(address, web, monkeypatch):
    Resolver({"images.example": [[address]]}).install(monkeypatch)
    internet = Internet(monkeypatch, {str(ipaddress.ip_address(address)): web})
    assert load_image("http://images.example/a.gif").size == (1, 1)
    host = f"[{address}]" if ":" in address else address
    assert load_image(f"http://{host}:8080/a.gif").size == (1, 1)
    assert [port for _, port in internet.connected] == [80, 8080]
    assert b"\r\nHost: images.example\r\n" in web.received


def test_the_next_address_is_tried_when_one_does_not_answer(web, monkeypatch):
    closed = Server()
    closed.close()
    Resolver({"images.example": [["2606:2800:220:1::1", PUBLIC, "93.184.216.35"]]}).install(monkeypatch)
    internet = Internet(monkeypatch, {PUBLIC: closed, "93.184.216.35": web, "2606:2800:220:1::1": closed})
    assert load_image("http://images.example/a.gif").size == (1, 1)
    assert internet.connected == [(PUBLIC, 80), ("93.184.216.35", 80)]


def test_only_hosts_on_the_list_are_fetched(web, monkeypatch):
    hosts = ["images.example", "*.cdn.example", ".photos.example", "Bücher.example"]
    resolver = Resolver(default=(PUBLIC,)).install(monkeypatch)
    Internet(monkeypatch, {PUBLIC: web})
    policy = FetchPolicy(hosts=hosts)
    for host in ("images.example", "IMAGES.example.", "a.cdn.example", "a.b.cdn.example", "photos.example",
                 "a.photos.example", "bücher.example", "xn--bcher-kva.example"):  # fmt: skip
        assert load_image(f"http://{host}/a.gif", fetch_policy=policy).size == (1, 1), host
    asked, connections = len(resolver.asked), web.connections
    for host in ("cdn.example", "evilcdn.example", "evilphotos.example", "a.images.example", "images.example.a.example",
                 PUBLIC, "2130706433", "images.example@evil.example", "127.0.0.1"):  # fmt: skip
        with pytest.raises(ImageError, match=r"hosts\)|never sent"):
            load_image(f"http://{host}/a.gif", fetch_policy=policy)
    assert (asked, connections) == (len(resolver.asked), web.connections), "nothing is looked up"
    with pytest.raises(ImageError):
        load_image("http://images.example/a.gif", fetch_policy=FetchPolicy(hosts=[]))


def test_a_listed_address_or_local_name_admits_one_private_host(web, monkeypatch):
    resolver = Resolver({"nas.local": [["127.0.0.1"]]}).install(monkeypatch)
    for host, entry in (("127.0.0.1", "127.0.0.1"), ("2130706433", "127.0.0.1"), ("localhost", "localhost"),
                        ("nas.local", "NAS.local"), ("[::1]", "[::1]"), ("[0::1]", "::1")):  # fmt: skip
        for hosts in (entry, [entry, "images.example"]):
            url = f"http://{host}:{web.port}/a.gif"
            assert load_image(url, fetch_policy=FetchPolicy(hosts=hosts)).size == (1, 1)
    connections = web.connections
    # a public name is in the hands of whoever runs its zone
    for host in ("images.example", "127.0.0.2", "a.local"):
        with pytest.raises(ImageError):
            load_image(f"http://{host}:{web.port}/", fetch_policy=FetchPolicy(hosts=["images.example", "*.local"]))
    assert web.connections == connections
    both = FetchPolicy(hosts=["images.example"], private_hosts=True)
    assert load_image(f"http://images.example:{web.port}/", fetch_policy=both).size == (1, 1)
    with pytest.raises(ImageError, match="hosts"):
        load_image(f"{web.url}/", fetch_policy=both)
    assert resolver.asked.count("nas.local") == 2


METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]", "[64:ff9b::169.254.169.254]", "2852039166", "metadata.google.internal",
            "metadata", "instance-data"]  # fmt: skip


@pytest.mark.parametrize("host", METADATA)
def test_metadata_services_are_refused_even_where_private_hosts_are_allowed(host, listener, monkeypatch):
    address = host.strip("[]")
    resolver = Resolver().install(monkeypatch)
    Internet(monkeypatch, {address: listener, "169.254.169.254": listener, "::ffff:a9fe:a9fe": listener})
    with pytest.raises(ImageError, match="cannot be reached"):
        load_image(f"http://{host}:{listener.port}/", fetch_policy=FetchPolicy(private_hosts=True))
    assert resolver.asked == []
    assert listener.connections == 0


def test_a_metadata_service_is_admitted_by_its_address(web, monkeypatch):
    Internet(monkeypatch, {"169.254.169.254": web})
    policy = FetchPolicy(hosts=["169.254.169.254"])
    assert load_image("http://169.254.169.254/a.gif", fetch_policy=policy).size == (1, 1)


@pytest.mark.parametrize("hosts", [["http://a.example"], ["a.example:80"], ["*"], [""], ["."], ["a b"], [7], 7, [None],
                                   ["*.10.0.0.1"], ["a.example/x"], ["user@a.example"], ["1.2.3.4.5"],
                                   ["\ud800"]])  # fmt: skip
def test_impossible_entries_of_the_list_raise(hosts):
    with pytest.raises(ImageError, match="hosts"):
        FetchPolicy(hosts=hosts)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"timeout": "5"},
                                   {"timeout": float("inf")}, {"timeout": 10**400}, {"timeout": None},
                                   {"max_bytes": 0}, {"max_redirects": -1}, {"max_redirects": True}])  # fmt: skip
def test_impossible_limits_raise(wrong):
    with pytest.raises(ImageError, match=next(iter(wrong))):
        FetchPolicy(**wrong)


def test_the_list_of_networks_holds_what_python_and_langchain_hold():
    langchain_policy = pytest.importorskip("langchain_core._security._policy")
    constants = (ipaddress._IPv4Constants, ipaddress._IPv6Constants)
    networks = [network for constant in constants for network in constant._private_networks]
    networks += [*langchain_policy._BLOCKED_IPV4_NETWORKS, *langchain_policy._BLOCKED_IPV6_NETWORKS]
    networks += map(ipaddress.ip_network, langchain_policy._CLOUD_METADATA_IPS)
    nat64 = ipaddress.ip_network("64:ff9b::/32")  # what it holds inside decides
    for network in networks:
        if str(network) == "::ffff:0:0/96" or (network.version == 6 and network.subnet_of(nat64)):
            continue
        assert not is_public(network[0]), network
        assert not is_public(network[-1]), network
    assert all(is_metadata(ipaddress.ip_address(text)) for text in langchain_policy._CLOUD_METADATA_IPS)


def test_neighbors_of_special_networks_are_public():
    for text in ("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
                 "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
                 "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "1.1.1.1", "8.8.8.8", PUBLIC,
                 "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2003::1", "2001:200::1"):  # fmt: skip
        assert is_public(ipaddress.ip_address(text)), text


@pytest.mark.parametrize("target", ["ftp://images.example/a.png", "http://anna:secret@images.example/"])
def test_a_redirect_to_what_is_no_url_blames_the_redirect(target, monkeypatch):
    def redirect(connection):
        web.request(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target.encode())

    web = Server(redirect)
    Resolver({"images.example": [[PUBLIC]]}).install(monkeypatch)
    Internet(monkeypatch, {PUBLIC: web})
    try:
        with pytest.raises(ImageError, match="', the target of a redirect: ") as caught:
            load_image("http://images.example/a.png")
    finally:
        web.close()
    assert "secret" not in str(caught.value)
