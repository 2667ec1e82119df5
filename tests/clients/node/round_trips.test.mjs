// Whole round trips of the openai package of npm: upload, create, wait, download, compare every line.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { openAsBlob } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import OpenAI, { toFile } from 'openai';

import { client, compare, createBatch, ended, expected, input, linesOf, until } from './service.mjs';

const WAYS = {
  'a stream': [() => createReadStream(input('odd')), 'odd.jsonl'],
  'a File': [async () => new File([await readFile(input('odd'))], 'ü.jsonl'), 'ü.jsonl'],
  'bytes by toFile': [async () => toFile(await readFile(input('odd')), 'a b.jsonl'), 'a b.jsonl'],
  'nameless bytes': [async () => toFile(await readFile(input('odd'))), 'unknown_file'],
  'a blob': [async () => toFile(await openAsBlob(input('odd')), 'blob.jsonl'), 'blob.jsonl'],
};

test('every way to hand over a file makes a batch', async () => {
  for (const [way, [make, name]] of Object.entries(WAYS)) {
    const uploaded = await client.files.create({ file: await make(), purpose: 'batch' });
    const file = await client.files.waitForProcessing(uploaded.id, { pollInterval: 100, maxWait: 20_000 });
    const batch = await ended(await createBatch(file.id));

    assert.equal(file.filename, name, way);
    assert.equal(batch.status, 'completed', way);
    assert.deepEqual(batch.request_counts, { total: 8, completed: 8, failed: 0 });
    assert.equal(batch.error_file_id, null);
    compare(await linesOf(batch.output_file_id), await expected('odd'));
  }
});

test('a batch tells its whole story', async () => {
  const file = await client.files.create({ file: createReadStream(input('odd')), purpose: 'batch' });
  const metadata = { run: '7', 'ünï': '🎉'.repeat(250) };

  const created = await createBatch(file.id, { metadata });
  const batch = await ended(created);

  assert.equal(created.status, 'validating');
  assert.deepEqual(created.request_counts, { total: 0, completed: 0, failed: 0 });
  assert.deepEqual(batch.metadata, metadata);
  assert.equal(batch.model, 'm');
  assert.equal(batch.usage.total_tokens, 80);
  assert.ok(batch.created_at <= batch.in_progress_at && batch.finalizing_at <= batch.completed_at);
});

test('refused lines keep the answer of the server', async () => {
  const file = await client.files.create({ file: createReadStream(input('refused')), purpose: 'batch' });

  const batch = await ended(await createBatch(file.id));

  assert.equal(batch.status, 'completed');
  assert.deepEqual(batch.request_counts, { total: 2, completed: 1, failed: 1 });
  const [good, bad] = await expected('refused');
  compare(await linesOf(batch.output_file_id), [good]);
  compare(await linesOf(batch.error_file_id), [bad]);
});

test('a cancelled batch keeps what was done', async () => {
  const file = await client.files.create({ file: createReadStream(input('waiting')), purpose: 'batch' });
  const batch = await createBatch(file.id);
  await until(batch, (found) => found.request_counts.completed);

  const answer = await client.batches.cancel(batch.id);
  const last = await ended(batch);
  const again = await client.batches.cancel(batch.id);

  assert.ok(['cancelling', 'cancelled'].includes(answer.status));
  assert.ok(Number.isInteger(answer.cancelling_at));
  assert.equal(last.status, 'cancelled');
  assert.deepEqual(again, last);
  const [done, ...rest] = await expected('waiting');
  compare(await linesOf(last.output_file_id), [done]);
  const errors = await linesOf(last.error_file_id);
  assert.deepEqual(errors.map((line) => [line.custom_id, line.response, line.error.code]), rest.map(
    (line) => [line.custom_id, null, 'batch_cancelled'],
  ));
});

test('a bad file fails with its lines named', async () => {
  const file = await client.files.create({ file: createReadStream(input('bad')), purpose: 'batch' });

  const batch = await ended(await createBatch(file.id));

  assert.equal(batch.status, 'failed');
  assert.equal(batch.errors.object, 'list');
  assert.deepEqual(
    batch.errors.data.map(({ line, code, param }) => [line, code, param]),
    [[2, 'invalid_json_line', null], [3, 'duplicate_custom_id', 'custom_id']],
  );
  assert.equal(batch.output_file_id, null);
  await assert.rejects(client.batches.cancel(batch.id), OpenAI.ConflictError);
});
