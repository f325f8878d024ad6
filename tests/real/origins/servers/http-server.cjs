// http-server. Arguments: the port, the folder, the packages.
const [port, root, packages] = process.argv.slice(2);
const { createServer } = require(`${packages}/http-server`);
createServer({ root, cache: 3600 }).listen(Number(port), '127.0.0.1');
