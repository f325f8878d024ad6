#!/usr/bin/env bash
# undici's RetryAgent resumes a body without a validator when there is no strong ETag, and joins two files.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund undici@7.30.2
cat > see.cjs <<'JS'
const http = require('node:http');
const { Agent, RetryAgent } = require('undici');
const run = (name, before, after) => new Promise(done => {
  const asked = [];
  const server = http.createServer((request, response) => {
    const { range } = request.headers;
    asked.push(['range', 'if-range', 'if-match', 'if-unmodified-since'].filter(f => request.headers[f])
      .map(f => `${f}: ${request.headers[f]}`).join(', ') || 'no range');
    if (!range) { // the first file: half of it, then the connection breaks
      response.writeHead(200, { ...before, 'Accept-Ranges': 'bytes', 'Content-Length': 1000 });
      response.write('A'.repeat(500), () => setTimeout(() => response.destroy(), 100));
    } else {      // another file by now, of equal length
      response.writeHead(206, { ...after, 'Content-Range': 'bytes 500-999/1000', 'Content-Length': 500 });
      response.end('B'.repeat(500));
    }
  }).listen(0, '127.0.0.1', async () => {
    const agent = new RetryAgent(new Agent(), { minTimeout: 50 });
    let end;
    try {
      const { body } = await agent.request({ origin: `http://127.0.0.1:${server.address().port}`, path: '/film.mp4', method: 'GET' });
      end = (await body.text()).replace(/(.)\1*/g, (same, byte) => `${same.length} times ${byte}, `) + 'no error';
    } catch (error) { end = `${error.name}: ${error.message}`; }
    console.log(`${name}: asked (${asked.join(') (')}) -> ${end}`);
    await agent.close(); server.close(); done(end);
  });
});
(async () => {
  const monday = { 'Last-Modified': 'Mon, 02 Nov 2026 10:00:00 GMT' }, friday = { 'Last-Modified': 'Fri, 06 Nov 2026 10:00:00 GMT' };
  const strong = await run('strong tags', { ETag: '"a"' }, { ETag: '"b"' });
  const dates = await run('dates only ', monday, friday);
  const weak = await run('weak tags  ', { ETag: 'W/"a"', ...monday }, { ETag: 'W/"b"', ...friday });
  const mixed = '500 times A, 500 times B, no error';
  process.exit(/ETag mismatch/.test(strong) && dates === mixed && weak === mixed ? 0 : 1);
})();
JS
cat <<'TEXT'
version: npm undici 7.30.2 (the HTTP client inside Node.js; RetryAgent, default settings)
behaviour: When a body breaks, the agent asks for the rest by itself. Without a strong ETag it sends neither If-Range nor
  If-Unmodified-Since, and compares neither Last-Modified nor weak tags of the 206: the caller gets one body of two
  files and no error. RFC 9110 section 13.1.5 has If-Range for this, and section 15.3.7.3 joins parts only under one
  strong validator. An origin or a cache with dates or weak tags only cannot save such clients; strong tags do.
output seen:
TEXT
timeout 60 node see.cjs
