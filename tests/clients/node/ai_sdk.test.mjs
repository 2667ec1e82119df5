// Vercel's AI SDK: its batches are lines of /v1/responses.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';

import { look } from './service.mjs';

const batches = createOpenAI({
  baseURL: process.env.CLIENT_TEST_URL,
  apiKey: process.env.CLIENT_TEST_KEY,
}).experimental_batch();

const request = (id, text) => ({
  id,
  type: 'text',
  modelId: 'm',
  options: { prompt: [{ role: 'user', content: [{ type: 'text', text }] }] },
});

const until = (batchId, condition) => look(() => batches.doGetBatchStatus({ batchId }), condition);

async function resultsOf(batchId) {
  const found = new Map();
  for await (const result of await batches.doGetBatchResults({ batchId })) found.set(result.id, result);
  return found;
}

test('a batch of the AI SDK goes round, a refused request included', async () => {
  const started = await batches.doStartBatch({
    requests: [request('a', 'first'), request('b', 'REFUSE this'), request('c', 'third')],
  });
  const ended = await until(started.batchId, (found) => found.status !== 'pending');
  const results = await resultsOf(started.batchId);

  assert.equal(started.status, 'pending');
  assert.deepEqual([ended.status, ended.rawStatus], ['completed', 'completed']);
  assert.deepEqual(ended.requestCounts, { total: 3, pending: 0, completed: 2, failed: 1 });
  assert.deepEqual([...results.keys()].sort(), ['a', 'b', 'c']);
  for (const [id, text] of [['a', 'first'], ['c', 'third']]) {
    assert.equal(results.get(id).status, 'succeeded');
    assert.equal(results.get(id).result.content[0].text, `echo: ${text}`);
    assert.equal(results.get(id).result.usage.inputTokens.total, 7);
  }
  assert.equal(results.get('b').status, 'failed');
  assert.equal(results.get('b').error.message, 'max_tokens is too large: 99999.');
});

test('a batch of the AI SDK that is cancelled tells which requests did not run', async () => {
  const started = await batches.doStartBatch({ requests: [request('w', 'WAIT for ever')] });
  await until(started.batchId, (found) => found.rawStatus === 'in_progress');
  await batches.doCancelBatch({ batchId: started.batchId });
  const ended = await until(started.batchId, (found) => found.status !== 'pending');
  const results = await resultsOf(started.batchId);
  const listed = await batches.doListBatches({ limit: 100 });

  assert.deepEqual([ended.status, ended.rawStatus], ['failed', 'cancelled']);
  assert.equal(results.get('w').status, 'cancelled');
  assert.ok(listed.batches.some((batch) => batch.batchId === started.batchId));
});
