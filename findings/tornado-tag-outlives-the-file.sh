#!/usr/bin/env bash
# Tornado keeps the strong tag of a static file's first bytes when the file is replaced.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install tornado==6.6.1
mkdir www
cat > see.py <<'PY'
import asyncio, os, sys
import tornado.httpclient, tornado.httpserver, tornado.netutil, tornado.web

def put(byte, size):
    open("www/new", "wb").write(byte * size)
    os.replace("www/new", "www/live.m4s")

async def main():
    app = tornado.web.Application([(r"/(.*)", tornado.web.StaticFileHandler, {"path": "www"})])
    [socket] = tornado.netutil.bind_sockets(0, "127.0.0.1")
    tornado.httpserver.HTTPServer(app).add_sockets([socket])
    url = f"http://127.0.0.1:{socket.getsockname()[1]}/live.m4s"
    client = tornado.httpclient.AsyncHTTPClient()
    async def ask(**headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        r = await client.fetch(url, headers=headers, raise_error=False)
        print(*(f"{n}: {v[:12]}" for n, v in headers.items()), "->", r.code, r.headers["ETag"][:12] + '…"', r.headers.get("Content-Range"), len(r.body), "bytes of", r.body[:1])
        return r
    put(b"A", 1000)
    first = await ask()
    await asyncio.sleep(1.1)
    put(b"B", 2000)
    tag = first.headers["ETag"]
    second = await ask()
    part = await ask(If_Range=tag, Range="bytes=500-")
    same = await ask(If_None_Match=tag)
    sys.exit(not (second.headers["ETag"] == tag and second.body == b"B" * 2000 and part.code == 206
                  and part.body == b"B" * 1500 and same.code == 304))
asyncio.run(main())
PY
cat <<'TEXT'
version: PyPI tornado 6.6.1 (StaticFileHandler, default settings)
behaviour: The ETag is the SHA-512 of the file's content, but it is computed once for each path and kept until the
  process ends: after the file was replaced, by one of another size and date, the new bytes go out under the old
  strong tag, If-None-Match gets a 304, and If-Range with the old tag gets a 206 of new bytes. RFC 9110 section 8.8.1
  has a strong validator change whenever the bytes change. A cache that joins parts by tag builds a body of two files.
output seen:
TEXT
timeout 60 v/bin/python see.py
