#!/usr/bin/env bash
# sirv reads `bytes=0-0` as the whole file, and `bytes=-10` as the head of the file.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund sirv@3.0.2
mkdir www; python3 -c 'open("www/film.mp4","wb").write(bytes(i % 256 for i in range(1000)))'
cat > see.mjs <<'JS'
import http from 'node:http';
import sirv from 'sirv';
const serve = sirv('www', { etag: true });
const server = http.createServer((q, s) => serve(q, s)).listen(0, '127.0.0.1', async () => {
  const ask = range => new Promise(done => http.get({ port: server.address().port, host: '127.0.0.1',
    path: '/film.mp4', headers: { Range: range } }, r => {
      const parts = []; r.on('data', p => parts.push(p)).on('end', () => {
        const body = Buffer.concat(parts);
        console.log(`Range: ${range} -> ${r.statusCode}, Content-Range: ${r.headers['content-range']}, ` +
          `${body.length} bytes, the first is ${body[0]}`);
        done([r.headers['content-range'], body.length, body[0]].join());
      });
    }));
  const first = await ask('bytes=0-0'), last = await ask('bytes=-10');
  server.close();
  process.exitCode = first === 'bytes 0-999/1000,1000,0' && last === 'bytes 0-10/1000,11,0' ? 0 : 1;
});
JS
cat <<'TEXT'
version: npm sirv 3.0.2
behaviour: A client that asks for the first byte (`bytes=0-0`, the usual probe for ranges and length) gets a 206 with
  the whole file, because the server reads a last position of 0 as absent. A client that asks for the last ten bytes
  (`bytes=-10`, how a player looks for the index at the end of a file) gets the first eleven.
  RFC 9110 section 14.1.2 has the first byte, and the last ten. Each Content-Range is true about its own bytes, so a
  cache must believe Content-Range and never the range that was asked: filed as "the tail", these bytes are the head.
output seen:
TEXT
timeout 60 node see.mjs
