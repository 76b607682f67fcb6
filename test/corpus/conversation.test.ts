// Conversations in JSON records: which forms are known, and what is refused.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { conversationOf } from '../../src/corpus/conversation.ts';

const HI = [
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello.' },
];

describe('conversationOf', () => {
  it.each<[string, Record<string, unknown>]>([
    ['messages', { messages: HI }],
    [
      'ShareGPT',
      {
        conversations: [
          { from: 'human', value: 'Hi' },
          { from: 'gpt', value: 'Hello.' },
        ],
      },
    ],
    ['prompt and completion', { prompt: 'Hi', completion: 'Hello.' }],
    ['question and answer', { question: 'Hi', answer: 'Hello.' }],
    ['instruction and output', { instruction: 'Hi', input: '', output: 'Hello.' }],
  ])('knows %s', (_, record) => {
    expect(conversationOf(record)).toEqual(HI);
  });

  it('puts an input below its instruction', () => {
    expect(conversationOf({ instruction: 'Add.', input: '1 + 1', output: '2' })).toEqual([
      { role: 'user', content: 'Add.\n\n1 + 1' },
      { role: 'assistant', content: '2' },
    ]);
  });

  it.each<[Record<string, unknown>, string]>([
    [{ messages: [] }, 'field "messages" is not a list of messages, or an empty one'],
    [{ messages: 'Hi' }, 'not a list of messages'],
    [
      { messages: [{ role: 'oracle', content: 'x' }] },
      'message 1 of "messages" has the role "oracle", expected one of system, user',
    ],
    [{ messages: [{ role: 'user' }] }, 'message 1 of "messages" has no text'],
    [{ messages: [null] }, 'message 1 of "messages" has the role null'],
    [{ messages: [{ role: 'user', content: ' ' }] }, '"messages" holds no text'],
  ])('refuses %j', (record, reason) => {
    expect((conversationOf(record) as { reason: string }).reason).toContain(reason);
  });

  it('is no conversation without the fields', () => {
    expect(conversationOf({ title: 'x' })).toBeUndefined();
    expect(conversationOf({ question: 'x', answer: 3 })).toBeUndefined();
  });

  it('never throws, whatever the record', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('messages', 'conversations', 'prompt', 'completion'), fc.jsonValue()),
        (record) => {
          conversationOf(record);
        },
      ),
    );
  });
});
