// Each call of the openai package of npm that concerns files and batches, in each of its styles.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { test } from 'node:test';

import OpenAI, { toFile } from 'openai';

import { CHAT, client, compare, connect, createBatch, ended, expected, input } from './service.mjs';

const upload = (purpose = 'batch') =>
  client.files.create({ file: createReadStream(input('odd')), purpose });

test('content is read in every style', async () => {
  const bytes = await readFile(input('odd'));
  const file = await upload();
  const content = () => client.files.content(file.id);

  assert.equal(await (await content()).text(), bytes.toString());
  assert.deepEqual(Buffer.from(await (await content()).arrayBuffer()), bytes);
  assert.deepEqual(Buffer.from(await (await (await content()).blob()).arrayBuffer()), bytes);
  const pieces = [];
  for await (const piece of (await content()).body) pieces.push(piece);
  assert.deepEqual(Buffer.concat(pieces), bytes);
  const response = await content();
  assert.equal(response.headers.get('content-type'), 'application/octet-stream');
  assert.equal(response.headers.get('content-length'), String(bytes.length));
  await response.body.cancel();
});

test('results are read line by line', async () => {
  const batch = await ended(await createBatch((await upload()).id));
  const content = await client.files.content(batch.output_file_id);

  // readline cuts at U+2028 and U+2029 too: the prompts hold both, and each answer echoes them
  const lines = [];
  for await (const line of createInterface({ input: Readable.fromWeb(content.body), crlfDelay: Infinity })) {
    lines.push(JSON.parse(line));
  }

  compare(lines, await expected('odd'));
});

test('raw responses show headers and parse', async () => {
  const file = await upload();

  const raw = await client.files.retrieve(file.id).asResponse();
  const { data, response, request_id } = await client.files.retrieve(file.id).withResponse();

  assert.equal(raw.status, 200);
  assert.match(raw.headers.get('content-type'), /^application\/json/);
  assert.deepEqual(await raw.json(), { ...data });
  assert.match(request_id, /^req_/);
  assert.equal(response.headers.get('x-request-id'), request_id);
  assert.match(file._request_id, /^req_/);
});

test('pages turn by themselves', async () => {
  const files = [];
  for (let n = 0; n < 5; n++) files.push((await upload('evals')).id);
  const file = await upload();
  const batches = [];
  for (let n = 0; n < 4; n++) batches.push((await createBatch(file.id)).id);

  const newest = [];
  for await (const found of client.files.list({ limit: 2, purpose: 'evals' })) newest.push(found.id);
  const oldest = [];
  for await (const found of client.files.list({ limit: 3, purpose: 'evals', order: 'asc' })) oldest.push(found.id);
  const walked = [];
  for await (const page of (await client.batches.list({ limit: 3 })).iterPages()) {
    walked.push(...page.getPaginatedItems().map((found) => found.id));
  }
  const first = await client.batches.list({ limit: 1 });
  const second = await first.getNextPage();

  assert.deepEqual(newest.slice(0, 5), files.toReversed());
  assert.deepEqual(oldest, newest.toReversed());
  assert.deepEqual(walked.slice(0, 4), batches.toReversed());
  assert.equal(new Set(walked).size, walked.length);
  assert.equal(second.data[0].id, batches[2]);
});

test('files are shown and deleted', async () => {
  const file = await upload();

  const shown = await client.files.retrieve(file.id);
  const deleted = await client.files.delete(file.id);

  assert.deepEqual({ ...shown }, { ...file });
  assert.deepEqual({ ...deleted }, { id: file.id, object: 'file', deleted: true });
  for (const call of ['retrieve', 'delete', 'content']) {
    await assert.rejects(client.files[call](file.id), OpenAI.NotFoundError);
  }
});

test('expiry is asked for in the words of the client', async () => {
  const file = await client.files.create({
    file: await toFile(await readFile(input('odd')), 'x.jsonl'),
    purpose: 'batch',
    expires_after: { anchor: 'created_at', seconds: 3600 },
  });
  const batch = await createBatch(file.id, {
    output_expires_after: { anchor: 'created_at', seconds: 7200 },
  });

  assert.equal(file.expires_at, file.created_at + 3600);
  assert.equal(batch.expires_at, batch.created_at + 86400);
});

const REFUSED = {
  'bad endpoint': [(id) => createBatch(id, { endpoint: '/v1/x' }), 400, 'invalid_value', 'endpoint'],
  'bad metadata': [(id) => createBatch(id, { metadata: { k: ['v'] } }), 400, 'invalid_type', 'metadata.k'],
  'unknown input': [() => createBatch('file-none'), 400, null, 'file_id'],
  'limit too large': [() => client.batches.list({ limit: 101 }), 400, 'integer_above_max_value', 'limit'],
  'unknown file': [() => client.files.retrieve('file-none'), 404, null, 'id'],
  'unknown batch': [() => client.batches.retrieve('batch_none'), 404, null, null],
  'unknown model': [() => client.models.retrieve('gpt-none'), 404, 'model_not_found', 'model'],
};
const CLASSES = { 400: OpenAI.BadRequestError, 404: OpenAI.NotFoundError };

test('errors are raised by class with code and param', async () => {
  const file = await upload();
  for (const [what, [call, status, code, param]] of Object.entries(REFUSED)) {
    const error = await call(file.id).then(() => assert.fail(what), (caught) => caught);

    assert.ok(error instanceof CLASSES[status], what);
    assert.equal(error.status, status, what);
    assert.equal(error.code, code, what);
    assert.equal(error.param, param, what);
    assert.equal(error.type, 'invalid_request_error', what);
    assert.match(error.requestID, /^req_/, what);
    assert.deepEqual(Object.keys(error.error).sort(), ['code', 'message', 'param', 'type']);
    assert.equal(error.message, `${status} ${error.error.message}`, what);
  }
});

test('a final conflict is not repeated', async () => {
  const file = await client.files.create({ file: createReadStream(input('bad')), purpose: 'batch' });
  const batch = await ended(
    await client.batches.create({ input_file_id: file.id, endpoint: CHAT, completion_window: '24h' }),
  );
  let asked = 0;
  const counting = connect({ fetch: (...request) => (asked++, fetch(...request)) });

  await assert.rejects(counting.batches.cancel(batch.id), OpenAI.ConflictError);

  assert.equal(asked, 1);
});

test('models are listed and shown', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);

  assert.deepEqual(ids, ['m']);
  assert.equal((await client.models.retrieve('m')).object, 'model');
});
