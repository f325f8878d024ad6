#!/usr/bin/env bash
# lighttpd as a reverse proxy gives half of a chunked body a Content-Length, as if it were whole.
set -eu
dir=$(mktemp -d); pids=; trap 'for p in $pids; do kill "$p" || :; done; rm -rf "$dir"' EXIT; cd "$dir"
chmod 755 .; apt-get -qq -o APT::Sandbox::User=root download lighttpd=1.4.69-1 || { apt-get -qq update; apt-get -qq -o APT::Sandbox::User=root download lighttpd=1.4.69-1; }
dpkg -x lighttpd_*.deb deb
cat > origin.py <<'PY'
import socket, threading, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nETag: \"film\"\r\nCache-Control: max-age=60\r\n"
def answer(connection):  # 50,000 bytes of 100,000, then the connection breaks; no last chunk
    with connection:
        connection.recv(65536)
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + b"x" * 50000)
        time.sleep(0.2)
while True:
    threading.Thread(target=answer, args=listening.accept()[:1]).start()
PY
timeout 60 python3 origin.py > origin.port & pids=$!
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
until [ -s origin.port ]; do sleep 0.1; done
cat > conf <<CONF
server.document-root = "$dir"
server.bind = "127.0.0.1"
server.port = $port
server.modules = ("mod_proxy")
proxy.server = ("" => (("host" => "127.0.0.1", "port" => $(cat origin.port))))
CONF
timeout 60 deb/usr/sbin/lighttpd -D -m deb/usr/lib/lighttpd -f conf 2>/dev/null & pids="$pids $!"
cat <<'TEXT'
version: Debian lighttpd 1.4.69-1 (mod_proxy, default settings)
behaviour: The origin breaks off inside a chunk, after 50,000 of 100,000 bytes. The proxy hands on a 200 with
  `Content-Length: 50000`, on a connection that stays open: curl finds nothing wrong. RFC 9112 section 8 calls such a
  message incomplete, and a proxy has to let the next hop see that. A cache behind it stores half a film as
  a whole one, fresh and with its validator; let the origin state a Content-Length, which the proxy keeps.
output seen:
TEXT
for _ in $(seq 50); do curl -so /dev/null --max-time 3 "http://127.0.0.1:$port/film" && break; sleep 0.1; done
curl -s --max-time 3 -o body -D head "http://127.0.0.1:$port/film"; code=$?
echo "curl exit $code, $(wc -c < body) bytes"; cat head
grep -qi '^content-length: 50000' head
