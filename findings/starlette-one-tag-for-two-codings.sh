#!/usr/bin/env bash
# A download of Starlette's gzip that breaks goes on, under If-Range and the same strong tag, with plain bytes.
set -eu
dir=$(mktemp -d); pid=; trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install starlette==1.10.0 uvicorn==0.54.0
mkdir www; python3 -c 'open("www/live.mpd","w").write("<MPD>" + "".join(f"<S t=\"{i*i}\"/>" for i in range(9000)) + "</MPD>")'
cat > app.py <<'PY'
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
app = Starlette(routes=[Mount("/", StaticFiles(directory="www"))], middleware=[Middleware(GZipMiddleware)])
PY
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
v/bin/uvicorn --port "$port" --log-level error app:app & pid=$!
cat > see.py <<'PY'
import gzip, http.client, sys, time
def ask(**headers):
    for _ in range(100):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
            connection.request("GET", "/live.mpd", headers={"Accept-Encoding": "gzip", **{k.replace("_", "-"): v for k, v in headers.items()}})
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    answer = connection.getresponse(); body = answer.read()
    print(answer.status, *(f"{k}: {answer.getheader(k)}," for k in ("ETag", "Content-Encoding", "Content-Range")), len(body), "bytes", body[:8])
    return answer, body
whole, body = ask()
tag = whole.getheader("ETag")
part, rest = ask(Range="bytes=1000-", If_Range=tag)
try:
    gzip.decompress(body[:1000] + rest); joined = "unpacks"
except Exception as error:
    joined = f"does not unpack: {error}"
print("1,000 bytes of the 200 and then the 206, one strong tag:", joined)
sys.exit(not (whole.getheader("Content-Encoding") == "gzip" and part.status == 206 and part.getheader("ETag") == tag
              and not tag.startswith("W/") and part.getheader("Content-Encoding") is None and "not" in joined))
PY
cat <<'TEXT'
version: PyPI starlette 1.10.0 (FastAPI's base; StaticFiles behind GZipMiddleware), uvicorn 0.54.0
behaviour: GZipMiddleware compresses a manifest's 200 and leaves the strong ETag as it is, and leaves 206 alone. So a
  client whose gzip download broke asks for the rest with Accept-Encoding: gzip and If-Range: that tag, and gets a 206
  of plain bytes under the same tag. RFC 9110 section 8.8.3.3 wants different tags for different codings. A cache
  that fills a hole by If-Range must compare Content-Encoding as well as the tag, or ask for identity from the start.
output seen:
TEXT
timeout 60 v/bin/python see.py "$port"
