// The client under test, and what its tests share. pytest passes the address of the service and a folder with
// the inputs that it prepared: NAME.jsonl, and NAME.expected.json, the lines that must come back.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import OpenAI from 'openai';

export const CHAT = '/v1/chat/completions';
const FOLDER = process.env.CLIENT_TEST_FOLDER;
const TERMINAL = new Set(['completed', 'failed', 'expired', 'cancelled']);

export const connect = (options = {}) =>
  new OpenAI({ baseURL: process.env.CLIENT_TEST_URL, apiKey: process.env.CLIENT_TEST_KEY, ...options });

export const client = connect();

export const input = (name) => `${FOLDER}/${name}.jsonl`;

export const expected = async (name) => JSON.parse(await readFile(`${FOLDER}/${name}.expected.json`, 'utf8'));

export const createBatch = (fileId, more = {}) =>
  client.batches.create({ input_file_id: fileId, endpoint: CHAT, completion_window: '24h', ...more });

// Looks until what is found is as it is waited for.
export async function look(find, condition) {
  // its state is asked for: there is nothing that would tell of it
  for (const deadline = Date.now() + 150_000; Date.now() < deadline; await sleep(50)) {
    const found = await find();
    if (condition(found)) return found;
  }
  throw new Error(`it was waited for in vain: ${condition}`);
}

export const retrieved = (batch, { from, condition }) => look(() => from.retrieve(batch.id), condition);

export const until = (batch, condition) => retrieved(batch, { from: client.batches, condition });

export const ended = (batch) => until(batch, (found) => TERMINAL.has(found.status));

export async function linesOf(fileId) {
  const text = await (await client.files.content(fileId)).text();
  assert.ok(text.endsWith('\n'));
  return text.slice(0, -1).split('\n').map((line) => JSON.parse(line));
}

// Holds result lines against those expected: each once, in order, the bodies unchanged.
export function compare(lines, wanted) {
  for (const line of lines) assert.deepEqual(Object.keys(line), ['id', 'custom_id', 'response', 'error']);
  const told = lines.map(({ custom_id, response, error }) => ({
    custom_id,
    status_code: response?.status_code ?? null,
    body: response?.body ?? null,
    error,
  }));
  assert.deepEqual(told, wanted);
  assert.equal(new Set(lines.map((line) => line.id)).size, lines.length);
}
