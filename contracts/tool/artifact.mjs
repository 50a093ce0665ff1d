#!/usr/bin/env node
// Writes artifact/*.json from the sources: what Python deploys and binds to, so that only those who
// change a contract need a compiler. `--check` compiles and fails if a committed file has drifted.
import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const CONTRACTS = ['SessionAccount', 'SessionAccountFactory', 'Settlement', 'TestUSDC'];
const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function artifactOf(name) {
  const built = JSON.parse(readFileSync(join(root, 'out', `${name}.sol`, `${name}.json`), 'utf8'));
  const {object, linkReferences} = built.bytecode;
  if (Object.keys(linkReferences).length > 0) throw new Error(`${name} has unlinked libraries`);
  return JSON.stringify({contractName: name, abi: built.abi, bytecode: object}, null, 1) + '\n';
}

function isCurrent(path, text) {
  try {
    return readFileSync(path, 'utf8') === text;
  } catch {
    return false;
  }
}

const isCheck = process.argv.includes('--check');
execFileSync(join(root, 'node_modules', '.bin', 'forge'), ['build', '--skip', 'test'], {
  cwd: root,
  stdio: ['ignore', 'ignore', 'inherit'],
});
mkdirSync(join(root, 'artifact'), {recursive: true});
let drifted = 0;
for (const name of CONTRACTS) {
  const path = join(root, 'artifact', `${name}.json`);
  const text = artifactOf(name);
  if (isCurrent(path, text)) continue;
  if (isCheck) {
    console.error(`artifact/${name}.json is not what the sources give: run tool/artifact.mjs`);
    drifted += 1;
  } else {
    writeFileSync(path, text);
    console.log(`wrote artifact/${name}.json`);
  }
}
process.exitCode = drifted > 0 ? 1 : 0;
