#!/usr/bin/env bash
# WhiteNoise refuses each range of exactly one byte.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install whitenoise==6.12.0
mkdir www; python3 -c 'open("www/film.mp4","wb").write(bytes(i % 256 for i in range(1000)))'
cat > see.py <<'PY'
import sys, threading, urllib.error, urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server
from whitenoise import WhiteNoise

class Quiet(WSGIRequestHandler):
    def log_message(self, *_): pass

server = make_server("127.0.0.1", 0, WhiteNoise(None, root="www"), handler_class=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()

def ask(value):
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/film.mp4", headers={"Range": value})
    try:
        answer = urllib.request.urlopen(request, timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    print(f"Range: {value} -> {answer.status}, Content-Range: {answer.headers['Content-Range']}, {len(answer.read())} bytes")
    return answer.status

seen = [ask(value) for value in ("bytes=0-1", "bytes=0-0", "bytes=500-500", "bytes=999-", "bytes=-1")]
sys.exit(seen != [206, 416, 416, 416, 416])
PY
cat <<'TEXT'
version: PyPI whitenoise 6.12.0 (the static files of many Django services)
behaviour: A range of one byte gets a 416: `bytes=0-0`, by which clients and caches ask whether ranges work and how
  long the file is, and the last byte, in each of its three spellings. A range with first <= last < length is satisfiable
  (RFC 9110 section 14.1.2). A cache that probes by `bytes=0-0`, or whose last slice is one byte, must not take this
  416 for a file that is empty or has become shorter.
output seen:
TEXT
timeout 60 v/bin/python see.py
