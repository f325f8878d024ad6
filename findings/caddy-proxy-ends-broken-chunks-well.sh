#!/usr/bin/env bash
# Caddy as a reverse proxy writes a proper last chunk after a chunked body that broke.
set -eu
dir=$(mktemp -d); pids=; trap 'for p in $pids; do kill "$p" || :; done; rm -rf "$dir"' EXIT; cd "$dir"
chmod 755 .; apt-get -qq -o APT::Sandbox::User=root download caddy=2.6.2-5 || { apt-get -qq update; apt-get -qq -o APT::Sandbox::User=root download caddy=2.6.2-5; }
dpkg -x caddy_*.deb deb
cat > origin.py <<'PY'
import socket, threading, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nETag: \"film\"\r\nCache-Control: max-age=60\r\n"
def answer(connection):  # 50,000 bytes of 100,000, then the connection breaks; no last chunk
    with connection:
        path = connection.recv(65536).split()[1]
        if path == b"/chunked":
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n186a0\r\n" + b"x" * 50000)
        else:
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 50000)
        time.sleep(0.2)
while True:
    threading.Thread(target=answer, args=listening.accept()[:1]).start()
PY
timeout 60 python3 origin.py > origin.port & pids=$!
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
until [ -s origin.port ]; do sleep 0.1; done
cat > Caddyfile <<CONF
{
  admin off
  auto_https off
}
http://127.0.0.1:$port {
  reverse_proxy 127.0.0.1:$(cat origin.port)
}
CONF
HOME=$dir timeout 60 deb/usr/bin/caddy run --config Caddyfile --adapter caddyfile 2> log & pids="$pids $!"
cat <<'TEXT'
version: Debian caddy 2.6.2-5 (reverse_proxy, default settings)
behaviour: The origin breaks off inside a chunk, after 50,000 of 100,000 bytes. The proxy logs "aborting with
  incomplete response", and then ends its own chunked body with the last chunk that means "complete", so curl exits 0.
  RFC 9112 sections 7.1 and 8: a body without its last chunk is incomplete, and so must the forwarded one be. A cache
  behind this proxy cannot know: it stores half a film as a whole one, unless the origin states a Content-Length.
output seen:
TEXT
ask() { curl -s --raw --max-time 3 -o body -w '%{exitcode}' "http://127.0.0.1:$port/$1" > code || :
  echo "$1: curl exit $(cat code), the body ends with $(tail -c 7 body | od -An -c | tr -s ' ')"; }
for _ in $(seq 50); do curl -so /dev/null --max-time 3 "http://127.0.0.1:$port/chunked" && break; sleep 0.1; done
ask length; [ "$(cat code)" = 18 ]
ask chunked; [ "$(cat code)" = 0 ] && [ "$(tail -c 5 body | od -An -tx1 | tr -d ' ')" = 300d0a0d0a ]
grep -o '"msg":"aborting with incomplete response"' log | head -1
