#!/usr/bin/env bash
# Express refuses a suffix range that is longer than the file.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund express@5.3.0 fastify@5.12.8 @fastify/static@10.1.11
mkdir www; python3 -c 'open("www/clip.mp4","wb").write(bytes(i % 256 for i in range(1000)))'
cat > see.cjs <<'JS'
const express = require('express'), fastify = require('fastify')(), path = require('node:path');
const ask = async (name, port) => {
  const seen = [];
  for (const range of ['bytes=-1000', 'bytes=-1001', 'bytes=-65536']) {
    const r = await fetch(`http://127.0.0.1:${port}/clip.mp4`, { headers: { Range: range } });
    await r.arrayBuffer();
    console.log(`${name}: Range: ${range} of a file of 1000 bytes -> ${r.status}, Content-Range: ${r.headers.get('content-range')}`);
    seen.push(r.status);
  }
  return seen.join() === '206,416,416';
};
(async () => {
  const server = express().use(express.static('www')).listen(0, '127.0.0.1');
  await new Promise(done => server.once('listening', done));
  fastify.register(require('@fastify/static'), { root: path.resolve('www') });
  await fastify.listen({ port: 0, host: '127.0.0.1' });
  const both = await ask('express', server.address().port) && await ask('fastify', fastify.server.address().port);
  process.exit(both ? 0 : 1);
})();
JS
cat <<'TEXT'
version: npm express 5.3.0, fastify 5.12.8 with @fastify/static 10.1.11
behaviour: A request for the last 64 KiB of a shorter file gets a 416. RFC 9110 section 14.1.2: if the representation
  is shorter than the suffix, the entire representation is used; the range is satisfiable. Players and tools ask
  for a fixed number of bytes at the end, to find an index or tags. A cache that forwards such a range gets a 416 for a
  file that is there, and one byte more or less decides; a cache that turns suffixes into whole answers gets it right.
output seen:
TEXT
NODE_ENV=test timeout 60 node see.cjs
