"""Ways to write a URL so that a request reaches this machine or a private network, all with the port of a listener."""

# ruff: noqa: RUF001  # look-alikes are what is tested

REFUSED = [
    # loopback
    "http://127.0.0.1:{port}/a", "http://127.255.255.254:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/",
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/", "http://0X7F.1:{port}/",
    "http://017700000001:{port}/", "http://0177.0.0.01:{port}/", "http://0177.0x0.1:{port}/", "http://0:{port}/",
    "http://0.0.0.0:{port}/", "http://0x0:{port}/", "http://127.0.0.1.:{port}/", "http://127.000.000.001:{port}/",
    "HTTP://127.0.0.1:{port}/", "hTTp://LOCALHOST:{port}/", "http://localhost:{port}/", "http://localhost.:{port}/",
    "http://a.localhost:{port}/", "http://localhost.localdomain:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[0000::0001]:{port}/",
    # IPv4 inside of IPv6
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[::127.0.0.1]:{port}/",
    "http://[::7f00:1]:{port}/", "http://[::ffff:0:127.0.0.1]:{port}/", "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b::10.1.2.3]:{port}/", "http://[64:ff9b::a9fe:a9fe]:{port}/", "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[64:ff9b:1:7f00:0:100::]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://[2002:a9fe:a9fe::1]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/", "http://[2001::80ff:fffe]:{port}/", "http://[2001:4860::5efe:7f00:1]:{port}/",
    "http://[2001:4860::200:5efe:127.0.0.1]:{port}/", "http://[fe80::5efe:127.0.0.1]:{port}/",
    # zones and odd brackets
    "http://[::1%lo]:{port}/", "http://[::1%25lo]:{port}/", "http://[fe80::1%25lo]:{port}/", "http://[fe80::1]:{port}/",
    "http://[127.0.0.1]:{port}/", "http://[[::1]]:{port}/", "http://[::1:{port}/", "http://::1:{port}/",
    "http://[v1.127.0.0.1]:{port}/",
    # private, special and metadata
    "http://10.0.0.1:{port}/", "http://100.64.0.1:{port}/", "http://169.254.169.254:{port}/latest/meta-data/",
    "http://172.16.0.1:{port}/", "http://172.31.255.255:{port}/", "http://192.0.0.192:{port}/",
    "http://192.0.0.9:{port}/", "http://192.0.2.1:{port}/", "http://192.88.99.1:{port}/", "http://192.168.1.1:{port}/",
    "http://198.18.0.1:{port}/", "http://198.19.255.255:{port}/", "http://198.51.100.1:{port}/",
    "http://203.0.113.1:{port}/", "http://224.0.0.1:{port}/", "http://239.255.255.250:{port}/",
    "http://240.0.0.1:{port}/", "http://255.255.255.255:{port}/", "http://168.63.129.16:{port}/machine",
    "http://100.100.100.200:{port}/", "http://2852039166:{port}/", "http://0xa9fea9fe:{port}/",
    "http://[fd00:ec2::254]:{port}/", "http://[fd20:ce::254]:{port}/", "http://[fc00::1]:{port}/",
    "http://[fec0::1]:{port}/", "http://[ff02::1]:{port}/", "http://[5f00::1]:{port}/", "http://[100::1]:{port}/",
    "http://[2001:db8::1]:{port}/", "http://[2001:2::1]:{port}/", "http://[3fff::1]:{port}/",
    "http://metadata.google.internal:{port}/computeMetadata/v1/", "http://METADATA.google.internal.:{port}/",
    "http://metadata:{port}/", "http://instance-data:{port}/latest/", "http://metadata.azure.internal:{port}/",
    "http://kubernetes.default.svc:{port}/", "http://host.docker.internal:{port}/", "http://printer.local:{port}/",
    "http://intranet:{port}/", "http://wiki.corp:{port}/", "http://router.home.arpa:{port}/",
    # public names that stand for loopback; the resolver of the test answers so
    "http://localtest.example:{port}/", "http://127.0.0.1.nip.example:{port}/", "https://localtest.example:{port}/",
    # other alphabets
    "http://１２７.0.0.1:{port}/", "http://127。0。0。1:{port}/", "http://127．0．0．1:{port}/",
    "http://127｡0｡0｡1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/", "http://ｌocalhost:{port}/",
    "http://loc\u00adalhost:{port}/", "http://locaIhost\u200b:{port}/", "http://xn--127-0-0-1:{port}/",
    "http://localho\u017ft:{port}/", "http://\u202e1.0.0.721:{port}/",
    # what parsers disagree about
    "http://images.example@127.0.0.1:{port}/", "http://user:secret@127.0.0.1:{port}/", "http://@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@images.example/", "http://127.0.0.1:{port}?@images.example/",
    "http://127.0.0.1:{port}\\@images.example/", "http://images.example\\@127.0.0.1:{port}/",
    "http://images.example:80@127.0.0.1:{port}/", "http://images.example#@127.0.0.1:{port}/",
    "http://127.0.0.1%2f@images.example:{port}/", "http://127.0.0.1%00.images.example:{port}/",
    "http://%31%32%37.0.0.1:{port}/", "http://127.0.0.1%20:{port}/", "http://127.0.0.1 .images.example:{port}/",
    "http://127.0.0.1\t:{port}/", "http://127.0.0.1\n:{port}/", "http://images.example\r\nHost: x:{port}/",
    "http://127.0.0.1\x00:{port}/", "http:////127.0.0.1:{port}/", "http:///127.0.0.1:{port}/",
    "http:/\\127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/",
    "http://127.0.0.1,images.example:{port}/", "http://{{127.0.0.1}}:{port}/", "http://127.0.0.1;.images.example:{port}/",
    "http://1.1.1.1 &@127.0.0.1:{port}# @3.3.3.3/", "//127.0.0.1:{port}/", "http://./", "http://../",
    "http://1.2.3.4.5:{port}/", "http://256.256.256.256:{port}/", "http://0x1ffffffff:{port}/", "http://08.1:{port}/",
    "http://images.example.1:{port}/", "http://-:{port}/", "http://a..example:{port}/",
    # ports and schemes
    "http://127.0.0.1:0{port}/", "http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:99999999999/",
    "http://127.0.0.1:-1/", "http://127.0.0.1:{port}:80/", "http://127.0.0.1:http/", "http://127.0.0.1:１２/",
    "https://127.0.0.1:{port}/", "https://[::1]:{port}/", "ftp://127.0.0.1:{port}/a", "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/", "url:http://127.0.0.1:{port}/", "jar:http://127.0.0.1:{port}/!/",
    "file://127.0.0.1:{port}/a", "http+unix://127.0.0.1:{port}/",
]  # fmt: skip
