#!/usr/bin/env bash
# In a multipart answer of BlackSheep, each 64 KiB of a part begin a new part with the same Content-Range.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install blacksheep==2.6.4 uvicorn==0.54.0
mkdir www; python3 -c 'open("www/film.mp4","wb").write(bytes(i % 251 for i in range(200000)))'
cat > see.py <<'PY'
import email, http.client, socket, sys, threading, time
import uvicorn
from blacksheep import Application

app = Application(); app.serve_files("www")
listening = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
running = threading.Thread(target=server.run, args=([listening],)); running.start()
while not server.started: time.sleep(0.05)

connection = http.client.HTTPConnection(*listening.getsockname(), timeout=5)
connection.request("GET", "/film.mp4", headers={"Range": "bytes=0-149999,199990-199999"})
answer = connection.getresponse(); body = answer.read(); connection.close()
kind = answer.getheader("Content-Type")
parts = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body).get_payload()
print("asked two ranges:", answer.status, kind)
for part in parts:
    print("  part", part["Content-Range"])
server.should_exit = True; running.join()
sys.exit([part["Content-Range"] for part in parts] != ["bytes 0-149999/200000"] * 3 + ["bytes 199990-199999/200000"])
PY
cat <<'TEXT'
version: PyPI blacksheep 2.6.4 (serve_files) on uvicorn 0.54.0
behaviour: Two ranges, one of them of 150,000 bytes, come as four parts: the boundary and part headers are written
  again for each 64 KiB that are read, three times with the same Content-Range. RFC 9110 section 15.3.7.2 has one part
  for a range, with as many bytes as its Content-Range says. A cache that files parts by Content-Range writes three
  blocks over each other at position 0, so it must count the bytes of each part, or never ask upstream for two ranges.
output seen:
TEXT
timeout 60 v/bin/python see.py
