#!/usr/bin/env bash
# got's cache stores a 206 and serves it for other ranges and for the whole file.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund got@14.6.6 cacheable-request@13.0.19 http-cache-semantics@4.3.0
cat > see.mjs <<'JS'
import http from 'node:http';
import got from 'got';
import CachePolicy from 'http-cache-semantics';
const film = Buffer.from(Array.from({ length: 100 }, (_, i) => i));
let asked = 0;
const server = http.createServer((request, response) => {
  asked += 1;
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  const fields = { 'Content-Type': 'video/mp4', 'Cache-Control': 'max-age=60', ETag: '"film"' };
  if (range) response.writeHead(206, { ...fields, 'Content-Range': `bytes ${range[1]}-${range[2]}/100` });
  else response.writeHead(200, fields);
  response.end(range ? film.subarray(+range[1], +range[2] + 1) : film);
}).listen(0, '127.0.0.1', async () => {
  const cache = new Map(), seen = [];
  for (const headers of [{ range: 'bytes=0-9' }, { range: 'bytes=50-59' }, {}]) {
    const before = asked;
    const { statusCode, body } = await got(`http://127.0.0.1:${server.address().port}/film.mp4`,
      { headers, cache, responseType: 'buffer', retry: { limit: 0 } });
    const from = asked > before ? 'origin' : 'cache';
    console.log(`${headers.range ?? 'no range'} -> ${statusCode} from the ${from}, ${body.length} bytes, the first is ${body[0]}`);
    seen.push(`${statusCode} ${from} ${body.length} ${body[0]}`);
  }
  const policy = new CachePolicy({ headers: {} }, { status: 206, headers: { 'cache-control': 'max-age=60' } });
  console.log('http-cache-semantics, asked for a 206: storable', policy.storable());
  server.close();
  process.exitCode = seen.join() === '206 origin 10 0,206 cache 10 0,206 cache 10 0' && !policy.storable() ? 0 : 1;
});
JS
cat <<'TEXT'
version: npm got 14.6.6 with cacheable-request 13.0.19 and http-cache-semantics 4.3.0
behaviour: The first ten bytes, stored from a 206, answer the request for bytes 50-59 and the one without Range. The
  library that decides knows that it cannot store a 206; but Node's response calls its code `statusCode`, it is asked
  without the `status` that it reads, and so takes each response for a 200. RFC 9111 section 3.3 has a 206 stored only
  as an incomplete response, and section 4 reused only if it fits. Before such a client, a max-age on a 206 is a danger.
output seen:
TEXT
timeout 60 node see.mjs
