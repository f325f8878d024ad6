#!/usr/bin/env bash
# nginx gives two files one strong tag when the second replaces the first in the same second with equal size.
set -eu
dir=$(mktemp -d); pid=; trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT; cd "$dir"
command -v nginx > /dev/null || { echo "needs nginx of Debian"; exit 77; }
chmod 755 .; mkdir www temp
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > conf <<CONF
daemon off; master_process off; pid $dir/pid; error_log $dir/log; events {}
http { access_log off; client_body_temp_path temp/1; proxy_temp_path temp/2; fastcgi_temp_path temp/3;
  uwsgi_temp_path temp/4; scgi_temp_path temp/5;
  server { listen 127.0.0.1:$port; root $dir/www; } }
CONF
put() { head -c 1000 /dev/zero | tr '\0' "$1" > www/new; mv www/new www/live.m4s; }
timeout 60 nginx -p "$dir" -c "$dir/conf" 2> /dev/null & pid=$!
url="http://127.0.0.1:$port/live.m4s"
put A; for _ in $(seq 50); do curl -so /dev/null "$url" && break; sleep 0.1; done
cat <<TEXT
version: $(nginx -v 2>&1), Debian $(dpkg-query -W -f '${Version}' nginx)
behaviour: The ETag is made of the whole seconds of the modification time and of the size, and it is strong. A live segment
  or playlist of constant size that is replaced within a second keeps its tag and its Last-Modified: the old copy is
  confirmed by a 304, and If-Range joins half of each file. RFC 9110 section 8.8.1 has a strong tag change with the
  bytes; a tag of this form is strong only if it is a second older than the response (section 8.8.2.2 says so of dates).
output seen:
TEXT
while [ "$(date +%N | cut -c1)" -gt 3 ]; do sleep 0.05; done # both puts in one second
put A; curl -s -D head -r 0-499 -o part "$url"; put B
tag=$(grep -i '^etag' head | cut -d' ' -f2 | tr -d '\r')
curl -s -D head2 -r 500- -H "If-Range: $tag" -o rest "$url"
same=$(curl -s -o /dev/null -w '%{http_code}' -H "If-None-Match: $tag" "$url")
echo "first part:  $(head -1 head | tr -d '\r'), ETag: $tag, $(wc -c < part) bytes of $(head -c 1 part)"
echo "If-Range: $tag: $(head -1 head2 | tr -d '\r'), $(grep -i '^etag' head2 | tr -d '\r'), $(wc -c < rest) bytes of $(head -c 1 rest)"
echo "If-None-Match: $tag: $same, while the file is of $(head -c 1 www/live.m4s)"
[ "$same" = 304 ] && [ "$(head -c 1 part)$(head -c 1 rest)" = AB ] && [ "$(wc -c < rest)" = 500 ]
