#!/usr/bin/env bash
# The usual compression middleware of Express compresses a 206 and keeps its Content-Range.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund express@5.3.0 compression@1.8.2
mkdir www; python3 -c 'open("www/live.mpd","w").write("<MPD>" + "<S d=\"2\"/>" * 2000 + "</MPD>")'
cat > see.cjs <<'JS'
const express = require('express'), http = require('node:http'), zlib = require('node:zlib');
const server = express().use(require('compression')(), express.static('www')).listen(0, '127.0.0.1', async () => {
  const ask = headers => new Promise(done => http.get({ port: server.address().port, host: '127.0.0.1',
    path: '/live.mpd', headers }, r => {
      const parts = []; r.on('data', p => parts.push(p)).on('end', () => done([r, Buffer.concat(parts)]));
    }));
  const [whole] = await ask({ 'Accept-Encoding': 'gzip' });
  const [r, body] = await ask({ 'Accept-Encoding': 'gzip', Range: 'bytes=1000-5999' });
  console.log(`200: Content-Encoding: ${whole.headers['content-encoding']}, ETag: ${whole.headers.etag}`);
  console.log(`${r.statusCode}: Content-Encoding: ${r.headers['content-encoding']}, ETag: ${r.headers.etag}, ` +
    `Content-Range: ${r.headers['content-range']}, ${body.length} bytes`);
  const plain = zlib.gunzipSync(body);
  console.log(`the 206 is a gzip stream of its own; it unpacks to ${plain.length} bytes`);
  server.close();
  process.exitCode = r.statusCode === 206 && r.headers['content-encoding'] === 'gzip' && body.length < 5000 &&
    r.headers['content-range'].startsWith('bytes 1000-5999/') && plain.length === 5000 ? 0 : 1;
});
JS
cat <<'TEXT'
version: npm compression 1.8.2 with express 5.3.0
behaviour: A range of a DASH manifest (or of WebVTT) from a client that accepts gzip gets a 206 whose Content-Range
  counts plain bytes, while its body is a separate gzip stream of that part, without Content-Length. Under a
  Content-Encoding, a range counts the bytes of the coded representation (RFC 9110 sections 8.4 and 14.2): the part
  belongs into the gzip stream that a plain GET gets under the same ETag. A cache that joins such parts by their
  Content-Range builds a file that no client can unpack; it must check that a part has as many bytes as it claims.
output seen:
TEXT
timeout 60 node see.cjs
