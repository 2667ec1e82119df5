// Files sent in parts by the openai package of npm.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import OpenAI, { toFile } from 'openai';

import { client, compare, createBatch, ended, expected, input, linesOf } from './service.mjs';

const PART_BYTES = 500;

async function begun() {
  const bytes = await readFile(input('odd'));
  const upload = await client.uploads.create({
    filename: 'parts.jsonl',
    purpose: 'batch',
    bytes: bytes.length,
    mime_type: 'application/jsonl',
  });
  return { bytes, upload };
}

test('parts sent all at once become a file', async () => {
  const { bytes, upload } = await begun();
  const pieces = [];
  for (let at = 0; at < bytes.length; at += PART_BYTES) pieces.push(bytes.subarray(at, at + PART_BYTES));

  const parts = await Promise.all(
    pieces.map(async (piece) => client.uploads.parts.create(upload.id, { data: await toFile(piece) })),
  );
  const done = await client.uploads.complete(upload.id, {
    part_ids: parts.map((part) => part.id),
    md5: createHash('md5').update(bytes).digest('hex'),
  });
  const batch = await ended(await createBatch(done.file.id));

  assert.equal(upload.status, 'pending');
  assert.equal(upload.file, null);
  assert.equal(done.status, 'completed');
  assert.equal(done.file.filename, 'parts.jsonl');
  assert.deepEqual(Buffer.from(await (await client.files.content(done.file.id)).arrayBuffer()), bytes);
  compare(await linesOf(batch.output_file_id), await expected('odd'));
});

test('an upload is cancelled', async () => {
  const { bytes, upload } = await begun();
  const part = await client.uploads.parts.create(upload.id, { data: await toFile(bytes) });

  const cancelled = await client.uploads.cancel(upload.id);

  assert.equal(cancelled.status, 'cancelled');
  await assert.rejects(client.uploads.complete(upload.id, { part_ids: [part.id] }), OpenAI.BadRequestError);
  await assert.rejects(client.uploads.cancel('upload_none'), OpenAI.NotFoundError);
});
