#!/usr/bin/env bash
# In Tornado and Sanic, a handler that fails in the middle of a body ends the body as if it were complete.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v; v/bin/pip -q --disable-pip-version-check install tornado==6.6.1 sanic==25.12.1 aiohttp==3.14.5
cat > see.py <<'PY'
import asyncio, logging, socket, sys
import sanic, tornado.httpserver, tornado.web
from aiohttp import web

logging.disable()
class Film(tornado.web.RequestHandler):
    async def get(self):
        self.write(b"x" * 50000); await self.flush()
        raise OSError("the disk, after half of the film")

app = sanic.Sanic("films")
@app.get("/")
async def film(request):
    answer = await request.respond(content_type="video/mp4")
    await answer.send(b"x" * 50000)
    raise OSError("the disk, after half of the film")

async def other(request):
    answer = web.StreamResponse(); await answer.prepare(request)
    await answer.write(b"x" * 50000)
    raise OSError("the disk, after half of the film")

async def end(name, listening):
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: films\r\n\r\n")
    seen = b""
    while not seen.endswith(b"\r\n0\r\n\r\n") and (more := await asyncio.wait_for(reader.read(65536), 5)):
        seen += more
    writer.close()
    gap = b"\r\n\r\n"; whole = seen.endswith(b"\r\n0\r\n\r\n")
    print(f"{name}: {seen.split(chr(13).encode())[0].decode()}, {seen.partition(gap)[2].count(b'x')} bytes, then",
          "the last chunk" if whole else "the connection closes without a last chunk")
    return whole

async def main():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    for each in sockets: each.setblocking(False)
    tornado.httpserver.HTTPServer(tornado.web.Application([("/", Film)])).add_sockets(sockets[:1])
    server = await app.create_server(sock=sockets[1], return_asyncio_server=True, access_log=False)
    await server.startup()
    plain = web.Application(); plain.router.add_get("/", other)
    runner = web.AppRunner(plain); await runner.setup(); await web.SockSite(runner, sockets[2]).start()
    return [await end(n, s) for n, s in zip(("tornado", "sanic", "aiohttp"), sockets)]
sys.exit(asyncio.run(main()) != [True, True, False])
PY
cat <<'TEXT'
version: PyPI tornado 6.6.1, sanic 25.12.1; for comparison aiohttp 3.14.5
behaviour: A handler has sent half of a chunked body and raises. Tornado and Sanic log the error and then send the last
  chunk, so that each client takes the half for the whole; aiohttp (and uvicorn, gunicorn, Fastify) closes without one.
  RFC 9112 section 8 has the last chunk tell a complete body from an incomplete one. No cache can see this: it stores a
  short film with a 200, for as long as it is fresh. Only a Content-Length that the handler sets before shows the break.
output seen:
TEXT
timeout 60 v/bin/python see.py
