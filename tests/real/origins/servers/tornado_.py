"""Tornado's StaticFileHandler. Arguments: the port, the folder, the packages."""
import asyncio
import sys

port, root, packages = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, packages)
from tornado.web import Application, StaticFileHandler


async def main():
    Application([(r"/(.*)", StaticFileHandler, {"path": root})]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
