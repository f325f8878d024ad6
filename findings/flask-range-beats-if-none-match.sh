#!/usr/bin/env bash
# Flask answers a validation that carries a Range with 206 in place of 304.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install Flask==3.1.3 Werkzeug==3.1.9
mkdir www; python3 -c 'open("www/film.mp4","wb").write(bytes(i % 256 for i in range(1000)))'
cat > see.py <<'PY'
import logging, os, sys, threading, urllib.error, urllib.request
from flask import Flask
from werkzeug.serving import make_server

logging.disable()
app = Flask("files", static_folder=os.path.abspath("www"), static_url_path="")
server = make_server("127.0.0.1", 0, app)
threading.Thread(target=server.serve_forever, daemon=True).start()

def ask(**headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/film.mp4", headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=5)
    except urllib.error.HTTPError as error:
        answer = error
    print(headers, "->", answer.status, answer.headers["Content-Range"], len(answer.read()), "bytes")
    return answer
tag = ask().headers["ETag"]
seen = [ask(If_None_Match=tag).status, ask(If_None_Match=tag, Range="bytes=0-").status,
        ask(If_Match='"another"', Range="bytes=0-9").status, ask(If_None_Match=tag, Range="bytes=2000-").status]
sys.exit(seen != [304, 206, 206, 416])
PY
cat <<'TEXT'
version: PyPI Flask 3.1.3 with Werkzeug 3.1.9 (send_file, static folders)
behaviour: A request with Range is never checked against If-None-Match or If-Match: a matching tag gets a 206 with all
  the bytes in place of a 304, another tag in If-Match gets the new file's bytes in place of a 412. RFC 9110 section
  13.2.2 has these conditions decided before Range is looked at. A cache that validates with the client's Range
  pays for the whole body each time, and If-Match does not protect the joining of parts: the tag of each 206 must.
output seen:
TEXT
timeout 60 v/bin/python see.py
