// Express with its static files. Arguments: the port, the folder, the packages.
const [port, root, packages] = process.argv.slice(2);
const express = require(`${packages}/express`);
express().use(express.static(root)).listen(Number(port), '127.0.0.1');
