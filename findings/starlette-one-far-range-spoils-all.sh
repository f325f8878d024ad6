#!/usr/bin/env bash
# Starlette refuses all of a range set when one of its ranges lies past the end.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install starlette==1.10.0 httpx==0.28.1
mkdir www; python3 -c 'open("www/film.mp4","wb").write(bytes(i % 256 for i in range(1000)))'
cat > see.py <<'PY'
import asyncio, sys
import httpx
from starlette.staticfiles import StaticFiles

async def main():
    transport = httpx.ASGITransport(StaticFiles(directory="www"))  # no socket is needed
    async with httpx.AsyncClient(transport=transport, base_url="http://files") as client:
        async def ask(value):
            answer = await client.get("/film.mp4", headers={"Range": value})
            print(f"Range: {value} -> {answer.status_code}, Content-Range: {answer.headers.get('Content-Range')}, {answer.text[:40]!r}")
            return answer.status_code
        one = await ask("bytes=5000-5999")
        both = await ask("bytes=998-999,5000-5999")
        unit = await ask("seconds=0-9")
    return (one, both, unit) == (416, 416, 400)
sys.exit(not asyncio.run(main()))
PY
cat <<'TEXT'
version: PyPI starlette 1.10.0 (FastAPI's base; StaticFiles, FileResponse), called through httpx 0.28.1
behaviour: A set of two ranges, one in the file and one behind its end, gets a 416; a range in a unit that the server
  does not know gets a 400. RFC 9110 section 14.1.2: a set is satisfiable if one of its ranges is; section 14.2: an
  origin ignores a range unit that it does not understand. A cache that forwards the client's Range turns a request
  for a playable film into an error, so it must not take a 416 to a set, nor such a 400, as a word about the file.
output seen:
TEXT
timeout 60 v/bin/python see.py
