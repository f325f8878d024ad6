// A server of one's own, as tutorials write it: streams files, gives open and closed ranges, and no validators.
// Arguments: the port, the folder.
const { createServer } = require('node:http');
const { createReadStream, statSync } = require('node:fs');
const [port, root] = process.argv.slice(2);
createServer((request, response) => {
  const path = `${root}${request.url}`;
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size === undefined) return response.writeHead(404).end();
  const type = path.endsWith('.mp4') ? 'video/mp4' : 'application/octet-stream';
  const range = request.headers.range;
  if (!range) {
    response.writeHead(200, { 'Content-Length': size, 'Content-Type': type });
    return createReadStream(path).pipe(response);
  }
  const [first, last] = range.replace(/bytes=/, '').split('-');
  const start = parseInt(first, 10);
  const end = last ? parseInt(last, 10) : size - 1;
  if (!(start <= end && end < size)) return response.writeHead(416).end();
  response.writeHead(206, {
    'Content-Range': `bytes ${start}-${end}/${size}`,
    'Accept-Ranges': 'bytes',
    'Content-Length': end - start + 1,
    'Content-Type': type,
  });
  createReadStream(path, { start, end }).pipe(response);
}).listen(Number(port), '127.0.0.1');
