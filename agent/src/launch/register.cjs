// Loaded before a Node program that was started by `weir run` (NODE_OPTIONS=--require); starts OpenTelemetry's SDK as
// `@opentelemetry/auto-instrumentations-node/register` does, which it requires, but for three things:
//
// - SIGTERM. `register` listens for it and never exits, and a process with a listener is no longer ended by the signal:
//   a program without a listener of its own would stay until it is killed. Here the SDK is shut down first, then the
//   signal is raised again, unless the program listens itself and thus decides for itself.
// - Package managers (`npm start`) are Node programs, too. What they start is observed, they themselves are not.
// - Programs written as ES modules need a loader hook beside the require hook.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');

// Long enough for one export to a neighbour, far below the seconds that a service manager waits before it kills.
const SHUTDOWN_MS = 1500;

const main = process.argv[1] || '';
const isPackageManager = /(^|[\\/])(npm|npx|yarn|yarnpkg|pnpm|pnpx|corepack)(-cli)?(\.c?js)?$/.test(main);

if (process.env.WEIR_NODE_REGISTER && isMainThread && !isPackageManager) {
  start(process.env.WEIR_NODE_REGISTER);
}

function start(register) {
  if (isModule(main)) {
    hookModules(register);
  }
  const before = process.listeners('SIGTERM');
  try {
    require(register);
  } catch (error) {
    // The program matters more than its telemetry.
    console.error(`weir run: the OpenTelemetry SDK did not start: ${error.stack || error}`);
    return;
  }
  const shutdowns = process.listeners('SIGTERM').filter((listener) => !before.includes(listener));
  shutdowns.forEach((listener) => process.removeListener('SIGTERM', listener));
  process.on('SIGTERM', async function end() {
    const decidesItself = process.listeners('SIGTERM').some((listener) => listener !== end);
    const timeout = new Promise((resolve) => setTimeout(resolve, SHUTDOWN_MS));
    await Promise.race([Promise.allSettled(shutdowns.map((shutdown) => shutdown())), timeout]);
    if (!decidesItself) {
      process.removeListener('SIGTERM', end);
      process.kill(process.pid, 'SIGTERM');
    }
  });
}

// Whether Node will load `file` as an ES module, by its extension, else by the nearest package.json.
function isModule(file) {
  if (/\.[mc]js$/.test(file)) {
    return file.endsWith('.mjs');
  }
  for (let at = path.dirname(file); ; at = path.dirname(at)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(at, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error.code !== 'ENOENT' || at === path.dirname(at)) {
        return false;
      }
    }
  }
}

function hookModules(register) {
  const { register: add } = require('node:module');
  const { pathToFileURL } = require('node:url');
  if (!add) {
    console.error('weir run: this program is an ES module, which can be observed from Node 20.6 on');
    return;
  }
  const from = { paths: [path.dirname(register)] };
  add(pathToFileURL(require.resolve('@opentelemetry/instrumentation/hook.mjs', from)));
}
