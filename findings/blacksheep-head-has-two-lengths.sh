#!/usr/bin/env bash
# BlackSheep answers HEAD for a file with two Content-Length fields that differ.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install blacksheep==2.6.4 uvicorn==0.54.0 httptools==0.9.0
mkdir www; python3 -c 'open("www/film.mp4","wb").write(b"x" * 200000)'
cat > see.py <<'PY'
import http.client, socket, sys, threading, time
import uvicorn
from blacksheep import Application

app = Application(); app.serve_files("www")
listening = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, http=sys.argv[1], log_level="error"))
running = threading.Thread(target=server.run, args=([listening],)); running.start()
while not server.started: time.sleep(0.05)
connection = http.client.HTTPConnection(*listening.getsockname(), timeout=5)
connection.request("HEAD", "/film.mp4")
answer = connection.getresponse(); answer.read(); connection.close()
lengths = answer.headers.get_all("Content-Length")
print(f"HEAD over uvicorn's {sys.argv[1]}:", answer.status, *(f"{k}: {v}" for k, v in answer.getheaders() if k != "date"), sep="\n  ")
server.should_exit = True; running.join()
sys.exit(lengths != ["200000", "0"])
PY
cat <<'TEXT'
version: PyPI blacksheep 2.6.4 (serve_files) on uvicorn 0.54.0 with httptools 0.9.0
behaviour: HEAD for a file of 200,000 bytes gets `Content-Length: 200000` and, in a second field, `Content-Length: 0`; the
  framework adds the length of the absent body to its own. RFC 9110 section 8.6 allows one value, and RFC 9112 section
  6.3 has clients and proxies drop an answer with different ones. A cache that takes the last or the smallest, and by RFC
  9111 section 4.3.5 a HEAD updates or invalidates the stored GET, throws a good film away or calls it empty.
output seen:
TEXT
timeout 60 v/bin/python see.py httptools
